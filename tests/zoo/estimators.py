"""scikit-learn: estimators and pipelines of every family."""

from __future__ import annotations

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, AgglomerativeClustering, Birch, KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import NMF, PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)  # fmt: skip
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)  # fmt: skip
from sklearn.manifold import TSNE
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import (
    KernelDensity,
    KNeighborsClassifier,
    KNeighborsRegressor,
    LocalOutlierFactor,
    NearestCentroid,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
)  # fmt: skip
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.zoo.entry import (
    DUTIES,
    NUMBER,
    PAIR,
    POSITIVE,
    TABLE,
    TEXTS,
    THREE,
    YES,
    Entry,
    Refused,
    X,
    by_chances,
    transformed,
)  # fmt: skip

_MIXED = ColumnTransformer(
    [
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["area", "rooms"]),
        ("city", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ("garden", "passthrough", ["garden"]),
    ]
)
_DICTS = [{"city": "Bonn", "rooms": 3}, {"city": "Kiel", "rooms": 2}] * 10


def _classifier(name, estimator, target=THREE, rows=X):
    return Entry(f"sklearn {name}", lambda: estimator.fit(rows, target), rows, chances=by_chances)


def _plain(name, estimator, target=NUMBER, rows=X):
    return Entry(f"sklearn {name}", lambda: estimator.fit(rows, target), rows)


def _transformer(name, estimator, rows=X):
    return Entry(f"sklearn {name}", lambda: estimator.fit(rows), rows, answer=transformed)


ENTRIES = [
    _classifier("LogisticRegression", LogisticRegression()),
    _classifier("SGDClassifier, log loss", SGDClassifier(loss="log_loss", random_state=0)),
    _classifier("DecisionTreeClassifier", DecisionTreeClassifier()),
    _classifier("RandomForestClassifier", RandomForestClassifier(5)),
    _classifier("AdaBoostClassifier", AdaBoostClassifier(n_estimators=5)),
    _classifier("GradientBoostingClassifier", GradientBoostingClassifier(n_estimators=5)),
    _classifier("HistGradientBoostingClassifier", HistGradientBoostingClassifier(max_iter=5)),
    _classifier("GaussianNB", GaussianNB()),
    _classifier("KNeighborsClassifier", KNeighborsClassifier()),
    _classifier("MLPClassifier", MLPClassifier((4,), max_iter=20, random_state=0)),
    _classifier("LinearDiscriminantAnalysis", LinearDiscriminantAnalysis()),
    _classifier("QuadraticDiscriminantAnalysis", QuadraticDiscriminantAnalysis()),
    _classifier("CalibratedClassifierCV of an SVC", CalibratedClassifierCV(SVC(), cv=2)),
    _classifier("OneVsRestClassifier", OneVsRestClassifier(LogisticRegression())),
    _classifier("DummyClassifier", DummyClassifier(strategy="prior")),
    _classifier("VotingClassifier, soft", VotingClassifier(
        [("a", GaussianNB()), ("b", LogisticRegression())], voting="soft")),
    _classifier("StackingClassifier", StackingClassifier([("a", GaussianNB())], LogisticRegression(), cv=2)),
    _classifier("GridSearchCV of a pipeline", GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2)),
    _classifier("MultiOutputClassifier", MultiOutputClassifier(LogisticRegression()), PAIR),
    _classifier("RandomForestClassifier, several outputs", RandomForestClassifier(5), PAIR),
    _classifier("KNeighborsClassifier, several labels", KNeighborsClassifier(), PAIR),
    _plain("SVC without probabilities", SVC(), THREE),
    _plain("LinearSVC", LinearSVC(), THREE),
    _plain("RidgeClassifier", RidgeClassifier(), THREE),
    _classifier("NearestCentroid", NearestCentroid()),
    _plain("LinearRegression", LinearRegression()),
    _plain("Ridge", Ridge()),
    _plain("Lasso", Lasso(0.1)),
    _plain("ElasticNet", ElasticNet(0.1)),
    _plain("BayesianRidge", BayesianRidge()),
    _plain("HuberRegressor", HuberRegressor()),
    _plain("QuantileRegressor", QuantileRegressor()),
    _plain("PoissonRegressor", PoissonRegressor(), np.abs(NUMBER)),
    _plain("SVR", SVR()),
    Entry("sklearn KernelRidge", lambda: KernelRidge().fit(X, NUMBER), X, exact=False),  # sums depend on addresses
    _plain("GaussianProcessRegressor", GaussianProcessRegressor()),
    _plain("PLSRegression", PLSRegression(2)),
    _plain("DecisionTreeRegressor", DecisionTreeRegressor()),
    _plain("RandomForestRegressor", RandomForestRegressor(5)),
    _plain("ExtraTreesRegressor", ExtraTreesRegressor(5)),
    _plain("BaggingRegressor", BaggingRegressor(n_estimators=4)),
    _plain("HistGradientBoostingRegressor", HistGradientBoostingRegressor(max_iter=5)),
    _plain("KNeighborsRegressor", KNeighborsRegressor()),
    _plain("MLPRegressor", MLPRegressor(hidden_layer_sizes=(4,), max_iter=20, random_state=0)),
    _plain("VotingRegressor", VotingRegressor([("a", Ridge()), ("b", SVR())])),
    _plain("TransformedTargetRegressor", TransformedTargetRegressor(Ridge(), transformer=StandardScaler())),
    _plain("MultiOutputRegressor", MultiOutputRegressor(Ridge()), np.column_stack([NUMBER, -NUMBER])),
    _plain("IsotonicRegression", IsotonicRegression(out_of_bounds="clip"), rows=X[:, :1]),
    _plain("KMeans", KMeans(3, n_init=1), None),
    _plain("MiniBatchKMeans", MiniBatchKMeans(3, n_init=1), None),
    _classifier("GaussianMixture", GaussianMixture(2), None),
    _plain("IsolationForest", IsolationForest(n_estimators=5), None),
    _plain("OneClassSVM", OneClassSVM(), None),
    _plain("LocalOutlierFactor(novelty=True)", LocalOutlierFactor(novelty=True), None),
    _transformer("StandardScaler", StandardScaler()),
    _transformer("PCA", PCA(2)),
    _transformer("NMF", NMF(2, max_iter=1000, tol=1e-2), POSITIVE),
    _transformer("TruncatedSVD", TruncatedSVD(2)),
    _transformer("QuantileTransformer", QuantileTransformer(n_quantiles=10)),
    _transformer("KBinsDiscretizer (sparse)", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")),
    _transformer("PolynomialFeatures", PolynomialFeatures()),
    _transformer("OneHotEncoder (sparse)", OneHotEncoder(), TABLE[["city"]]),
    _transformer("OrdinalEncoder", OrdinalEncoder(), TABLE[["city"]]),
    _transformer("TfidfVectorizer (sparse)", TfidfVectorizer(), TEXTS),
    _transformer("CountVectorizer (sparse)", CountVectorizer(), TEXTS),
    _transformer("FeatureUnion", FeatureUnion([("a", PCA(1)), ("b", MinMaxScaler())])),
    _transformer("DictVectorizer", DictVectorizer(), _DICTS),
    _classifier("pipeline of texts", make_pipeline(TfidfVectorizer(), LogisticRegression()), DUTIES, TEXTS),
    _classifier("pipeline with HashingVectorizer", make_pipeline(
        HashingVectorizer(n_features=16, alternate_sign=False), MultinomialNB()), DUTIES, TEXTS),
    _classifier("pipeline of a mixed table", make_pipeline(_MIXED, LogisticRegression()), YES, TABLE),
    _plain("pipeline of a mixed table, regression", make_pipeline(_MIXED, Ridge()), NUMBER, TABLE),
    _classifier("gaps in a table", HistGradientBoostingClassifier(max_iter=5), YES, TABLE[["area", "rooms"]]),
]  # fmt: skip

REFUSED = [
    Refused("sklearn LogisticRegression, never fitted", LogisticRegression, "never fitted; call fit"),
    Refused("sklearn pipeline with a step never fitted", lambda: make_pipeline(
        StandardScaler(), LogisticRegression().fit(X, YES)), "the step StandardScaler"),
    Refused("sklearn DBSCAN", lambda: DBSCAN().fit(X), "fit a model that can on its result"),
    Refused("sklearn AgglomerativeClustering", lambda: AgglomerativeClustering().fit(X), "fit a model that can"),
    Refused("sklearn TSNE", lambda: TSNE(), "fit a model that can on its result"),
    Refused("sklearn LocalOutlierFactor", lambda: LocalOutlierFactor().fit(X), "novelty=True"),
    Refused("sklearn KernelDensity", lambda: KernelDensity().fit(X), "write a class with a predict method"),
    Refused("sklearn Birch", lambda: Birch(n_clusters=3).fit(X), "register an object of a class of your own"),
    Refused("sklearn CountVectorizer that reads files", lambda: CountVectorizer(input="filename"), "would read files"),
]  # fmt: skip
