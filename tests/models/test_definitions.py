"""What definitions bring, and what is refused with what to change."""

from __future__ import annotations

import importlib
import socket
import sqlite3
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from streamb.crypto import SigningKey
from streamb.errors import ArtifactUnsupported, InvalidInput
from streamb.models import Model, load_artifact, sign_artifact
from streamb.models.code.definitions import Definitions
from streamb.models.code.literals import literal

KEY = SigningKey.generate()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes and imports a module; it is forgotten when the test ends."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = []

    def write(text: str, name: str = "mine"):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        names.append(name)
        return importlib.import_module(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def arrived(thing: object, folder: Path) -> Model:
    """Save and load, as in a process that has none of the user's modules."""
    Model.wrap(thing).save(folder)
    sign_artifact(folder, KEY)
    return load_artifact(folder, trusted=[KEY.public])


REFUSED = {
    "an open file": (
        "open(__file__)",
        r"the global 'THING', which Mine.predict uses, is a _io\.TextIOWrapper.*open it",
    ),
    "a lock": ("threading.Lock()", r"'THING', which Mine.predict uses, is a _thread\.lock.*inside the function"),
    "a thread": ("threading.Thread(target=print)", r"'THING'.*threading\.Thread.*on its first call"),
    "a socket": ("socket.socket()", r"'THING'.*socket\.socket.*inside the function"),
    "a generator": ("(n for n in range(3))", r"'THING'.*generator.*make it a list"),
    "a connection": ("sqlite3.connect(':memory:')", r"'THING'.*sqlite3\.Connection.*inside the function"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_global_that_no_file_holds_is_refused(module, tmp_path, kind):
    expression, sentence = REFUSED[kind]
    mine = module(
        f"import socket, sqlite3, threading\nTHING = {expression}\n"
        "class Mine:\n    def predict(self, X):\n        return [str(THING)] * len(X)\n"
    )
    with pytest.raises(ArtifactUnsupported, match=sentence):
        Model.wrap(mine.Mine()).save(tmp_path / "saved")
    getattr(mine.THING, "close", lambda: None)()


def test_an_attribute_that_no_file_holds_is_named(module, tmp_path):
    mine = module("class Mine:\n    def predict(self, X):\n        return X\n").Mine()
    mine.good, mine.bad = np.ones(2), threading.Lock()
    with pytest.raises(
        ArtifactUnsupported, match=r"the attribute 'bad' of Mine is a _thread\.lock.*inside the function"
    ):
        Model.wrap(mine).save(tmp_path / "saved")


@pytest.mark.parametrize("base", ["dict", "list", "numpy.ndarray"])
def test_a_class_whose_content_is_not_in_its_attributes_is_refused(module, tmp_path, base):
    mine = module(f"import numpy\nclass Mine({base}):\n    def predict(self, X):\n        return X\n")
    with pytest.raises(ArtifactUnsupported, match=r"Mine derives from .* in an attribute instead"):
        Model.wrap(np.ones(2).view(mine.Mine) if "ndarray" in base else mine.Mine()).save(tmp_path / "saved")


@pytest.mark.parametrize("expression", ["iter([1, 2])", "zip([1], [2])", "memoryview(b'a')"])
def test_a_value_that_would_come_back_empty_is_refused(module, tmp_path, expression):
    mine = module(f"THING = {expression}\ndef predict(X):\n    return [str(THING)] * len(X)\n")
    with pytest.raises(ArtifactUnsupported, match="'THING', which predict uses"):
        Model.wrap(mine.predict).save(tmp_path / "saved")


def test_what_does_not_return_predictions_is_refused():
    async def later(X):
        return X

    def one_by_one(X):
        yield from X

    for function in (later, one_by_one):
        with pytest.raises(InvalidInput, match="asynchronous or a generator"):
            Model.wrap(function)


def test_a_variable_of_a_closure_is_named(module, tmp_path):
    mine = module(
        "import threading\ndef make(lock):\n    def predict(X):\n        with lock:\n            return X\n"
        "    return predict\n"
    )
    with pytest.raises(ArtifactUnsupported, match=r"the variable 'lock' of make.<locals>.predict is a _thread\.lock"):
        Model.wrap(mine.make(threading.Lock())).save(tmp_path / "saved")


def test_a_name_that_is_gone_is_refused(module, tmp_path):
    mine = module("SIZE = 3\ndef predict(X, size=SIZE):\n    return X[:size]\ndel SIZE\n")
    with pytest.raises(ArtifactUnsupported, match="'SIZE', which is no longer there"):
        Model.wrap(mine.predict).save(tmp_path / "saved")


def test_what_has_no_source_is_refused(tmp_path, monkeypatch):
    scope: dict = {"__name__": "__main__"}
    exec("def typed(X):\n    return X\nlambdas = [lambda X: X]", scope)
    for thing in (scope["typed"], scope["lambdas"][0]):
        with pytest.raises(ArtifactUnsupported, match=r"no source file.*define it in a \.py file"):
            Model.wrap(thing).save(tmp_path / "saved")


def test_a_file_that_changed_since_it_was_imported_is_refused(module, tmp_path):
    mine = module("def predict(X):\n    return X\n")
    (tmp_path / "mine.py").write_text("# another line\n\ndef other(X):\n    return X\n")
    with pytest.raises(ArtifactUnsupported, match="its file has changed since"):
        Model.wrap(mine.predict).save(tmp_path / "saved")


def test_modules_that_need_each_other_at_once_run_in_the_right_order(module, tmp_path):
    right = "import left\nclass Right(left.Root):\n    def predict(self, X):\n        return X[:, 0] * self.rate\n"
    (tmp_path / "right.py").write_text(right)
    module("class Root:\n    rate = 2\nimport right\nclass Left(right.Right):\n    pass\n", "left")
    module(right, "right")
    model = arrived(sys.modules["left"].Left(), tmp_path / "saved")
    assert model.predict(np.ones((2, 1))).tolist() == [2.0, 2.0]


def test_a_traceback_shows_the_carried_line(module, tmp_path):
    import traceback

    mine = module("def predict(X):\n    raise RuntimeError('wrong')  # here\n")
    model = arrived(mine.predict, tmp_path / "saved")
    with pytest.raises(RuntimeError) as caught:
        model.predict([[1]])
    assert "# here" in "".join(traceback.format_exception(caught.value))


def test_the_environment_lists_what_values_beside_the_code_come_from(module, tmp_path):
    mine = module("FITTED = None\ndef predict(X):\n    return FITTED.predict(X)\n")
    mine.FITTED = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    assert "scikit-learn" in Model.wrap(mine.predict).save(tmp_path / "saved").versions


def test_code_from_two_places_is_refused_together(module, tmp_path):
    mine = module(
        "class Mine:\n    def __init__(self, inner):\n        self.inner = inner\n"
        "    def predict(self, X):\n        return self.inner(X)\n"
        "def first(X):\n    return X\n"
    )
    loaded = arrived(mine.first, tmp_path / "first").object
    with pytest.raises(ArtifactUnsupported, match="joins code that came out of an artifact with other code"):
        Model.wrap(mine.Mine(loaded)).save(tmp_path / "both")


def test_nothing_installed_is_carried():
    collected = Definitions()
    assert collected.place(np.ndarray) is None
    assert collected.place(socket.socket) is None
    assert collected.place(sqlite3.connect) is None
    assert collected.bundle().files == {}


@pytest.mark.parametrize(
    "value",
    [None, True, -3, 2.5, float("inf"), 1 + 2j, "a'b\n", b"\x00", (), (1,), [1, [2]], {"a": {1: (2,)}}, {3, 1},
     set(), frozenset(), frozenset({"b", "a"}), ...],
)  # fmt: skip
def test_a_literal_is_the_value(value):
    text = literal(value)
    assert text is not None
    assert eval(text) == value
    assert type(eval(text)) is type(value)


def test_what_is_not_plain_has_no_literal():
    loop: list = []
    loop.append(loop)
    for value in (np.float64(1), [np.ones(2)], loop, "x" * (1 << 21), object()):
        assert literal(value) is None
