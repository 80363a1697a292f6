"""statsmodels, skorch and transformers: the contract of `Model`, and what is particular to them; for `make soak`."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from streamb.errors import ArtifactUnsupported, InvalidInput
from streamb.models import Model, load_artifact
from tests.contracts.test_model_contract import Case, TestModelContract

__all__ = ["TestModelContract"]

pytestmark = pytest.mark.soak

rng = np.random.default_rng(0)
X = np.column_stack([np.ones(80), rng.normal(size=(80, 2))])
y = X @ [1.0, 2.0, 3.0] + rng.normal(size=80)


def statsmodels_results() -> Case:
    api = pytest.importorskip("statsmodels.api")
    return Case(Model.wrap(api.OLS(y, X).fit()), X[:5].tolist(), "regression", bad_rows=[[1, 2]])


def skorch_classifier() -> Case:
    skorch = pytest.importorskip("skorch")
    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)),
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        verbose=0,
    )
    model = Model.wrap(net.fit(X.astype(np.float32), np.arange(80) % 3))
    return Case(model, X[:5].tolist(), "classification", probabilities=True, bad_rows=[[1, 2, None]])


def tiny_pipeline(folder, task="text-classification", architecture="BertForSequenceClassification", **settings):
    """A pipeline around a model with random weights; nothing is downloaded."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    vocabulary = folder / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "bad", "good", "film"]
    vocabulary.write_text("\n".join(words))
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        id2label={0: "negative", 1: "neutral", 2: "positive"},
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, architecture)(config).eval()
    return transformers.pipeline(
        task, model=model, tokenizer=transformers.BertTokenizerFast(str(vocabulary)), device="cpu", **settings
    )


@pytest.fixture(params=[statsmodels_results, skorch_classifier, tiny_pipeline], ids=lambda make: make.__name__)
def case(request, tmp_path_factory):
    if request.param is not tiny_pipeline:
        return request.param()
    model = Model.wrap(tiny_pipeline(tmp_path_factory.mktemp("words")))
    rows = ["a good film", "a bad film", {"text": "film"}]
    return Case(model, rows, "classification", probabilities=True, bad_rows=[3])


def again(model, folder):
    folder.mkdir(exist_ok=True)
    manifest = model.save(folder / "model")
    assert not manifest.carries_code
    return load_artifact(folder / "model", trusted=[])


def test_each_is_taken_by_its_own_adapter(tmp_path):
    assert type(statsmodels_results().model).__name__ == "StatsmodelsModel"
    assert type(skorch_classifier().model).__name__ == "SkorchModel"
    assert type(Model.wrap(tiny_pipeline(tmp_path))).__name__ == "TransformersModel"


class TestStatsmodels:
    @pytest.mark.parametrize(
        "kind", ["OLS", "WLS", "GLS", "GLSAR", "RLM", "QuantReg", "Logit", "Probit", "Poisson", "NegativeBinomial",
                 "MNLogit"],
    )  # fmt: skip
    def test_every_model_answers_as_its_results(self, tmp_path, kind):
        api = pytest.importorskip("statsmodels.api")
        target = {
            "Logit": rng.integers(0, 2, 80), "Probit": rng.integers(0, 2, 80), "MNLogit": rng.integers(0, 3, 80),
            "Poisson": rng.poisson(3, 80), "NegativeBinomial": rng.poisson(rng.gamma(2, 2, 80)),
        }.get(kind, y)  # fmt: skip
        model = getattr(api, kind)(target, X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how well the numbers converge is not the question
            results = model.fit() if kind in {"OLS", "WLS", "GLS", "GLSAR", "RLM", "QuantReg"} else model.fit(disp=0)
        wrapped = Model.wrap(results)
        for one in (wrapped, again(wrapped, tmp_path)):
            np.testing.assert_array_equal(one.predict(X), results.predict(X))

    def test_every_family_and_link(self, tmp_path):
        api = pytest.importorskip("statsmodels.api")
        families, links = api.families, api.families.links
        positive = np.abs(y) + 0.1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whether the numbers converge is not the question
            made = [
                (y, families.Gaussian()), (y > 0, families.Binomial()), (y > 0, families.Binomial(links.Probit())),
                (np.round(positive), families.Poisson()), (positive, families.Gamma(links.Log())),
                (positive, families.Tweedie(var_power=1.5)), (np.round(positive), families.NegativeBinomial(alpha=0.7)),
                (positive, families.Gaussian(links.Power(power=0.5), check_link=False)),
            ]  # fmt: skip
            fitted = [api.GLM(target.astype(float), X, family=family).fit(maxiter=3) for target, family in made]
        for number, results in enumerate(fitted):
            loaded = again(Model.wrap(results), tmp_path / str(number))
            np.testing.assert_array_equal(loaded.predict(X), results.predict(X))

    def test_columns_of_a_frame_are_known_by_name(self, tmp_path):
        api = pytest.importorskip("statsmodels.api")
        frame = pd.DataFrame(X, columns=["const", "rooms", "age"])
        results = api.OLS(y, frame).fit()
        loaded = again(Model.wrap(results), tmp_path)
        assert (loaded.schema.names, loaded.schema.container) == (("const", "rooms", "age"), "frame")
        np.testing.assert_array_equal(loaded.predict(frame), results.predict(frame))

    def test_what_cannot_be_stored_names_the_way_out(self):
        api = pytest.importorskip("statsmodels.api")
        formulas = pytest.importorskip("statsmodels.formula.api")
        with pytest.raises(InvalidInput, match=r"fitted with a formula.*sm.OLS\(y, X\)"):
            Model.wrap(formulas.ols("y ~ x", pd.DataFrame({"x": X[:, 1], "y": y})).fit())
        with pytest.raises(InvalidInput, match=r"cannot store results of ARIMA.*class of your own"):
            Model.wrap(api.tsa.ARIMA(y).fit())


class TestSkorch:
    @pytest.mark.parametrize("kind", ["logits", "probabilities", "one logit", "regression"])
    def test_probabilities_follow_from_the_loss_as_in_skorch(self, tmp_path, kind):
        skorch = pytest.importorskip("skorch")
        torch.manual_seed(0)
        net = {
            "logits": lambda: skorch.NeuralNetClassifier(nn.Linear(3, 2), criterion=nn.CrossEntropyLoss),
            "probabilities": lambda: skorch.NeuralNetClassifier(nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1))),
            "one logit": lambda: skorch.NeuralNetBinaryClassifier(nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))),
            "regression": lambda: skorch.NeuralNetRegressor(nn.Linear(3, 1)),
        }[kind]()
        data = X.astype(np.float32)
        target = {"regression": y.reshape(-1, 1), "one logit": y > 0}.get(kind, (y > 0).astype(np.int64))
        net.set_params(max_epochs=2, verbose=0).fit(
            data, target if target.dtype == np.int64 else target.astype(np.float32)
        )
        loaded = again(Model.wrap(net), tmp_path)
        np.testing.assert_array_equal(loaded.predict(X), net.predict(data).reshape(-1))
        if kind != "regression":
            np.testing.assert_allclose(loaded.predict_proba(X), net.predict_proba(data), rtol=1e-5)

    def test_what_cannot_be_stored_names_the_way_out(self, tmp_path):
        skorch = pytest.importorskip("skorch")
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        net = skorch.NeuralNetRegressor(nn.Linear(3, 1), max_epochs=1, verbose=0)
        with pytest.raises(InvalidInput, match="never fitted"):
            Model.wrap(net)
        pipeline = make_pipeline(StandardScaler(), net).fit(X.astype(np.float32), y.reshape(-1, 1).astype(np.float32))
        with pytest.raises(ArtifactUnsupported, match=r"holds a torch module.*first layer"):
            Model.wrap(pipeline).save(tmp_path / "model")


class TestTransformers:
    def test_a_classifier_answers_labels_and_their_scores(self, tmp_path):
        pipeline = tiny_pipeline(tmp_path)
        loaded = again(Model.wrap(pipeline), tmp_path)
        texts = ["a good film", "bad", "a"]
        assert loaded.classes == ["negative", "neutral", "positive"]
        assert loaded.predict(texts).tolist() == [one["label"] for one in pipeline(texts)]
        best = loaded.predict_proba(texts).max(axis=1).tolist()
        assert best == [one["score"] for one in pipeline(texts)]

    @pytest.mark.parametrize(
        ("task", "architecture", "settings"),
        [
            ("text-classification", "BertForSequenceClassification", {"top_k": 2}),
            ("token-classification", "BertForTokenClassification", {"aggregation_strategy": "simple"}),
            ("fill-mask", "BertForMaskedLM", {"top_k": 3}),
            ("feature-extraction", "BertModel", {}),
        ],
    )
    def test_other_tasks_answer_what_the_pipeline_answers(self, tmp_path, task, architecture, settings):
        pipeline = tiny_pipeline(tmp_path, task, architecture, **settings)
        texts = ["a [MASK] film", "good [MASK]"]
        expected = pipeline(texts)
        loaded = again(Model.wrap(pipeline), tmp_path)
        assert loaded.task == "other"
        assert loaded.predict(texts) == expected
        assert loaded.predict(texts[:1]) == expected[:1]

    def test_tasks_and_classes_beyond_are_refused(self, tmp_path):
        pipeline = tiny_pipeline(tmp_path)
        pipeline.task = "image-classification"
        with pytest.raises(InvalidInput, match="class of your own whose predict calls the pipeline"):
            Model.wrap(pipeline)
        pipeline.task = "text-classification"
        pipeline.model.__class__ = type("Remote", (type(pipeline.model),), {})
        with pytest.raises(InvalidInput, match="Remote is not a class of transformers"):
            Model.wrap(pipeline)
