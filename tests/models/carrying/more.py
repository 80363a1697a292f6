"""More kinds of models, in a module of its own beside the script."""

import functools, contextlib, enum, datetime as dt, decimal
import xml.etree.ElementTree
import scipy as sp, scipy.special, scipy.interpolate
import numpy as np, pandas as pd
import torch
from torch import nn
import numpy.linalg as la
from pathlib import Path
from shapes import *
import shapes as h2
from functools import singledispatch, reduce
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.metrics import make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

A = np.array([[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0]])
TEN = 10
KINDS = {}


def saved(kind, thing):
    KINDS[kind] = thing


def k1(X):
    return [len(xml.etree.ElementTree.fromstring("<a><b/></a>")) + sp.special.expit(0.0) + la.norm(X)] * len(X)


saved("submodule of an installed package", k1)


def k2(X):
    return [
        HANDLERS["a"](1)
        + h2.HANDLERS["b"](3, 4)
        + COUNTS["z"]
        + Square(3).area()
        + len(WithMeta.tag)
        + even(4)
        + CONF.rate
        + Conf.limit
    ] * len(X)


saved("dicts of functions, metaclass, generics", k2)


class K3:
    def predict(self, X):
        try:
            raise Wrong("x")
        except h2.Wrong as e:
            return [len(str(e))] * len(X)


saved("exception class", K3())


@singledispatch
def size(x):
    return 0


@size.register
def _(x: int):
    return x


@size.register(str)
def _s(x):
    return len(x)


def k4(X):
    return [size("abc") + size(4) + size(None)] * len(X)


saved("singledispatch", k4)


@contextlib.contextmanager
def scope(n):
    yield n + 1


def k5(X):
    with scope(2) as n:
        return [n] * len(X)


saved("context manager", k5)
DF = pd.DataFrame({"a": [1, 2, 3], "b": list("xyz")})
DAY = dt.datetime(2024, 1, 2)
DEC = decimal.Decimal("1.5")
HOME = Path("a") / "b"
TD = pd.Timedelta("1D")
TS = pd.Timestamp("2024-01-02")
IDX = pd.Index([1, 2])


def k6(X):
    return [float(DF["a"].sum()) + DAY.day + float(DEC) + len(HOME.parts)] * len(X)


saved("frame, dates, decimal, path", k6)


def k6b(X):
    return [TD.days + TS.day + IDX[1]] * len(X)


saved("pandas scalars", k6b)


class Clip(TransformerMixin, BaseEstimator):
    def __init__(self, how=None):
        self.how = how

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return self.how(X) if self.how else X


saved(
    "transformer with a lambda",
    make_pipeline(Clip(lambda X: np.clip(X, 0, 3)), LinearRegression()).fit(A, [1.0, 2.0, 3.0]),
)
saved(
    "column transformer",
    make_pipeline(
        ColumnTransformer(
            [("a", FunctionTransformer(np.log1p), [1]), ("b", FunctionTransformer(lambda X: X + TEN), [0])]
        ),
        LinearRegression(),
    ).fit(A, [1.0, 2.0, 3.0]),
)


def score(y, p):
    return -float(np.abs(y - p).max())


GRID = GridSearchCV(LinearRegression(), {"fit_intercept": [True]}, scoring=make_scorer(score), cv=2).fit(
    np.repeat(A, 3, 0), np.arange(9.0)
)
GRID.cv_results_, GRID.refit_time_ = {}, 0.0  # the times differ each time
saved("grid search with a scorer", GRID)


class K7:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 2

    @property
    def b(self):
        return self._hidden()

    def __secret(self):
        return 5

    def _hidden(self):
        return self.__secret() + self.a

    def predict(self, X):
        return [self.b + (lambda q: q + self.__secret())(1)] * len(X)


saved("slots and private names", K7())


class Vehicle:
    registry = {}

    def __init_subclass__(cls, **kw):
        Vehicle.registry[cls.__name__] = cls

    def wheels(self):
        return 0


class Car(Vehicle):
    def wheels(self):
        return super(Car, self).wheels() + 4


class K8:
    def predict(self, X):
        return [len(Vehicle.registry) + Car().wheels() + Vehicle.registry["Car"]().wheels()] * len(X)


saved("registry by init_subclass", K8())


def k9(X, cache={}):
    match len(X):
        case 3:
            y = 7
        case _:
            y = 8
    return [y + (z := 3) + int(f"{X.shape[0]:>{3}}") + sum(i for i in (j for j in range(3)))] * len(X)


saved("match, walrus, f-string", k9)
REG = LinearRegression().fit(A, [1.0, 2.0, 3.0])
FN = REG.predict
VEC = np.vectorize(lambda v: v + 1)
POLY = np.poly1d([1, 2])
RNG = np.random.default_rng(0)


def k10(X):
    return FN(X) + VEC(X)[:, 0] + POLY(2)


saved("bound method of an estimator, vectorize, poly", k10)


def k10b(X):
    return RNG.random(len(X))


saved("random generator", k10b)


class Wrap2:
    def __init__(self, inner):
        self.inner = inner

    def predict(self, X):
        return self.inner.predict(X) + 1


saved("object in an object", Wrap2(Wrap2(REG)))
OBJ = Wrap2(REG)


def k11(X):
    return OBJ.predict(X)


saved("own object in a global", k11)


def deco(cls):
    cls.extra = lambda self: 3
    return cls


@deco
class K12:
    def predict(self, X):
        return [self.extra()] * len(X)


saved("decorated class", K12())


def outer(a):
    class In:
        def predict(self, X):
            return [a + helper_in(a) + self.other()] * len(X)

        def other(self):
            return In.k

        k = 5

    def helper_in(q):
        return q * 2

    return In()


saved("local class with a local helper and itself", outer(4))


def retry(n):
    def deco(f):
        @functools.wraps(f)
        def w(*a):
            return f(*a) + n

        return w

    return deco


@retry(2)
@retry(3)
def k13(X):
    return X[:, 0]


saved("stacked decorators", k13)
k14 = retry(4)(retry(5)(lambda X: X[:, 1]))
saved("stacked by hand", k14)
compose = lambda *fs: reduce(lambda f, g: lambda x: g(f(x)), fs)
saved("composed lambdas", compose(lambda X: X + 1, lambda X: X * 2, lambda X: X[:, 0]))


class Kind(enum.IntEnum):
    A = 1
    B = 2


class Flagged(enum.Flag):
    X = 1
    Y = 2


class K15:
    def __init__(self):
        self.kind, self.flag = Kind.B, Flagged.X | Flagged.Y

    def predict(self, X):
        return [int(self.kind) + (Flagged.Y in self.flag) + (Kind(2) is Kind.B)] * len(X)


saved("enums", K15())


class Prop:
    table = np.arange(3)

    @staticmethod
    def s(x):
        return x + 1

    t = staticmethod(lambda x: x + 2)
    h = HANDLERS["a"]

    def predict(self, X):
        return [int(self.table.sum()) + self.s(1) + self.t(1) + Prop.h(1)] * len(X)


saved("members", Prop())
torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(2, 1)).eval()
T0 = torch.ones(2)


def k16(X):
    with torch.no_grad():
        return NET(torch.tensor(X, dtype=torch.float32)).numpy()[:, 0]


saved("torch module in a global", k16)


def k17(X):
    return (torch.tensor(X, dtype=torch.float32) @ T0).numpy()


saved("tensor in a global", k17)


class K18:
    def __init__(self):
        self.net = NET

    def predict(self, X):
        return self.net(torch.tensor(X, dtype=torch.float32)).detach().numpy()[:, 0]


saved("torch module in an attribute", K18())


@torch.no_grad()
def k19(X):
    return torch.tensor(X).sum(1).numpy()


saved("no_grad", k19)
