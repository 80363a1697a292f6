"""skops files: one model, one digest, in whatever process; and no type beyond the safe list without leave."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from streamb.config import child_environment
from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, ArtifactUntrusted
from streamb.models.skops_file import freeze, thaw, untrusted_types
from streamb.models.skops_import import skops_io

SAVE = """
import sys, warnings
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from streamb.models import Model
X, y = load_iris(return_X_y=True)
texts = ["the ship shall report", "it may apply", "ships must notify", "one can choose"] * 3
models = [
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, y),
    RandomForestClassifier(4, random_state=0).fit(X, y),
    HistGradientBoostingClassifier(max_iter=3, random_state=0).fit(X, y),
    make_pipeline(TfidfVectorizer(stop_words=["the", "it"]), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 3),
]
models[0].words_ = {"a", "set", "of", "strings", "in", "no", "order", ("and", 1), 7}
for number, model in enumerate(models):
    print(Model.wrap(model).save(f"{sys.argv[1]}/{number}").digest)
"""


def test_two_processes_give_one_digest(tmp_path):
    running = []
    for seed in ("1", "2"):  # strings hash, and sets order, differently in each
        (tmp_path / seed).mkdir()
        command = [sys.executable, "-c", SAVE, str(tmp_path / seed)]
        environment = child_environment(PYTHONHASHSEED=seed)
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    digests = [process.communicate(timeout=150)[0].split() for process in running]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 4


class Holder:
    """State of many shapes, some of it shared."""

    def __init__(self):
        shared = np.arange(3)
        self.pair = [shared, shared]
        self.odd = {"file": 1, "__id__": 2, "__loader__": "x", 5: (1, (2,)), "nothing": None}
        self.raw = b"\x00\xff"
        self.words = {"b", "a"}
        self.objects = np.array([["x", None], [1, 2.5]], object)
        self.records = np.array([(1, 2.0)], dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True))
        self.cut = slice(1, None)
        self.kind = np.dtype("float32")


def test_state_comes_back_whole_and_shared_objects_stay_shared():
    content = freeze(Holder())
    back = thaw(content, may_run_code=True)
    assert back.pair[0] is back.pair[1]
    np.testing.assert_array_equal(back.pair[0], [0, 1, 2])
    expected = Holder()
    for name in ("odd", "raw", "words", "cut", "kind"):
        assert getattr(back, name) == getattr(expected, name)
    assert back.objects.tolist() == expected.objects.tolist()
    assert back.records.tolist() == [(1, 2.0)]
    assert freeze(back) == content


def test_padding_in_records_does_not_reach_the_file():
    layout = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    contents = []
    for filler in (0, 255):
        raw = np.full((2, layout.itemsize), filler, np.uint8).reshape(-1).view(layout)
        raw["a"], raw["b"] = 1, 2.0
        contents.append(freeze({"table": raw}))
    assert contents[0] == contents[1]


def test_types_beyond_the_safe_list_need_leave():
    content = freeze(RandomForestClassifier(2).fit(np.eye(3), [0, 1, 0]))
    assert untrusted_types(content) == ["sklearn.tree._tree.Tree"]
    with pytest.raises(ArtifactUntrusted, match="Tree"):
        thaw(content, may_run_code=False)
    assert thaw(content, may_run_code=True).predict(np.eye(3)).shape == (3,)
    assert thaw(freeze(LogisticRegression(C=3.0)), may_run_code=False).C == 3.0


def test_a_compressed_file_could_be_a_bomb():
    content = skops_io().dumps(LogisticRegression(), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ArtifactCorrupt, match="compressed"):
        thaw(content, may_run_code=True)


@pytest.mark.parametrize("thing", [(item for item in ()), sys])
def test_what_has_no_stored_form_is_named(thing):
    estimator = LogisticRegression()
    estimator.extra_ = thing
    with pytest.raises(ArtifactUnsupported, match="LogisticRegression"):
        freeze(estimator)
    loop = []
    loop.append(loop)
    with pytest.raises(ArtifactUnsupported):
        freeze({"loop": loop})
