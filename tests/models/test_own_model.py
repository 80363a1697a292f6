"""A user's own code: carried from packages, modules and scripts, loaded in another process beside its namesakes."""

from __future__ import annotations

import importlib
import inspect
import json
import runpy
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from streamb.crypto import SigningKey
from streamb.errors import ArtifactUnsupported, ArtifactUntrusted, InvalidInput
from streamb.models import FeatureSchema, Model, load_artifact, sign_artifact, verify_artifact
from streamb.models.adapters.own_model import _saves_itself
from streamb.models.artifact import seal
from streamb.models.code.definitions import Definitions
from streamb.models.environment import Environment
from streamb.models.skops_file import freeze
from streamb.models.source import SourceBundle, is_local

PACKAGE = {
    "shop/__init__.py": "from shop.net import Net\n",
    "shop/net.py": (
        "import json\nimport numpy as np\nimport pricing\nimport shop.parts.tables\n"
        "from .parts import tables as near\nfrom shop.parts.tables import Table\n"
        "class Net:\n"
        "    def __init__(self, factor):\n        self.table = Table(factor)\n"
        "    def predict(self, X):\n"
        "        from .late import bonus\n"
        "        assert near is shop.parts.tables and Table is near.Table\n"
        "        return np.asarray(X)[:, 0] * self.table.factor + pricing.BASE + bonus()\n"
    ),
    "shop/parts/__init__.py": "",
    "shop/parts/tables.py": "class Table:\n    def __init__(self, factor):\n        self.factor = factor\n",
    "shop/late.py": "def bonus():\n    return 1000\n",
    "shop/unrelated.py": "import a_module_that_is_nowhere\n",
    "pricing.py": "BASE = 100\n",
}

SCRIPT = '''
import sys
import pricing
from streamb.crypto import SigningKey
from streamb.models import Model, sign_artifact

ran_at_the_top = pricing.BASE

class BrokenModel:
    """Answers nothing."""

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        raise RuntimeError("this version is broken")

if __name__ == "__main__":
    from pathlib import Path
    folder, key = Path(sys.argv[1]), Path(sys.argv[2])
    model = Model.wrap(BrokenModel())
    assert model.schema is None
    model.save(folder)
    sign_artifact(folder, SigningKey.load_or_create(key))
'''


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """A folder of modules that can be imported until the test ends."""
    for name, content in PACKAGE.items():
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path / "code"
    forget()


def forget() -> None:
    """As in a process that never imported any of it."""
    importlib.invalidate_caches()
    for name in [
        name for name in sys.modules if name.partition(".")[0] in {"shop", "pricing", "steps", "huge", "train"}
    ]:
        del sys.modules[name]


def save_net(folder: Path, factor: float) -> None:
    Model.wrap(importlib.import_module("shop").Net(factor)).save(folder)
    forget()


def test_a_class_in_a_package_arrives_with_what_it_imports(code, tmp_path):
    key, saved = SigningKey.generate(), tmp_path / "saved"
    save_net(saved, 3.0)
    files = sorted(path.relative_to(saved / "code").as_posix() for path in (saved / "code").rglob("*.py"))
    assert files == sorted(set(PACKAGE) - {"shop/unrelated.py"})
    with pytest.raises(ArtifactUntrusted):
        load_artifact(saved, trusted=[key.public])
    sign_artifact(saved, key)
    model = load_artifact(saved, trusted=[key.public])
    shutil.rmtree(saved)  # what is imported later comes from memory
    shutil.rmtree(code)
    assert model.predict(np.array([[2.0], [3.0]])).tolist() == [1106, 1109]
    assert not {"shop", "pricing"} & sys.modules.keys()
    assert type(model.object).__module__.endswith(".shop.net")
    assert model.save(tmp_path / "again").digest == model.save(tmp_path / "third").digest
    assert "factor" in inspect.getsource(type(model.object)), "tracebacks can show the carried source"


def test_namesakes_live_side_by_side(code, tmp_path):
    key, models = SigningKey.generate(), []
    for base in (100, 700):
        (code / "pricing.py").write_text(f"BASE = {base}\n")
        save_net(tmp_path / str(base), 1.0)
        sign_artifact(tmp_path / str(base), key)
        models.append(load_artifact(tmp_path / str(base), trusted=[key.public]))
    assert [model.predict(np.zeros((1, 1))).tolist() for model in models] == [[1100], [1700]]


def test_a_script_is_carried_and_its_error_is_the_users_own(code, tmp_path, monkeypatch):
    (code / "train.py").write_text(SCRIPT)
    key = tmp_path / "key.pem"
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path / "saved"), str(key)])
    runpy.run_path(str(code / "train.py"), run_name="__main__")
    forget()
    model = load_artifact(tmp_path / "saved", trusted=[SigningKey.load_or_create(key).public])
    assert (model.name, model.task, model.schema) == ("BrokenModel", "other", None)
    rows = FeatureSchema.open().check_rows([[1.0, 2.0]])
    with pytest.raises(RuntimeError, match="this version is broken"):
        model.predict(model.to_input(rows))


def test_a_script_run_as_a_module_keeps_its_relative_imports(code, tmp_path, monkeypatch):
    (code / "shop" / "train.py").write_text(
        "from .parts.tables import Table\nfrom streamb.models import Model\nimport sys\n"
        "class Constant:\n    def predict(self, X):\n        return [Table(9).factor] * len(X)\n"
        "if __name__ == '__main__':\n    Model.wrap(Constant()).save(sys.argv[1])\n"
    )
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path / "saved")])
    runpy.run_module("shop.train", run_name="__main__", alter_sys=True)
    forget()
    key = SigningKey.generate()
    sign_artifact(tmp_path / "saved", key)
    assert load_artifact(tmp_path / "saved", trusted=[key.public]).predict([[1], [2]]).tolist() == [9, 9]


def test_nothing_carried_runs_before_it_is_trusted(code, tmp_path):
    mark, saved, trusted = tmp_path / "ran", tmp_path / "saved", SigningKey.generate()
    (code / "shop" / "late.py").write_text(
        f"from pathlib import Path\nMARK = {str(mark)!r}\n"
        "def bonus(_=None if __name__ == 'shop.late' else Path(MARK).touch()):\n    return 1000\n"
    )
    save_net(saved, 1.0)
    sign_artifact(saved, SigningKey.generate())
    with pytest.raises(ArtifactUntrusted):
        load_artifact(saved, trusted=[trusted.public])
    assert not mark.exists()
    sign_artifact(saved, trusted)
    load_artifact(saved, trusted=[trusted.public])
    assert mark.exists()


def test_a_pipeline_with_a_step_of_the_users_own_brings_it(code, tmp_path):
    (code / "steps.py").write_text(
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "class Double(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, X, y=None):\n        self.fitted_ = True\n        return self\n"
        "    def transform(self, X):\n        return X * 2\n"
    )
    data, saved, key = np.arange(6.0).reshape(3, 2), tmp_path / "saved", SigningKey.generate()
    pipeline = make_pipeline(importlib.import_module("steps").Double(), LinearRegression()).fit(data, [0, 1, 2])
    Model.wrap(pipeline).save(saved)
    forget()
    with pytest.raises(ArtifactUntrusted):
        load_artifact(saved, trusted=[])
    sign_artifact(saved, key)
    model = load_artifact(saved, trusted=[key.public])
    np.testing.assert_allclose(model.predict(data), [0, 1, 2], atol=1e-9)
    assert "steps" not in sys.modules


def test_a_class_that_no_file_defines_is_refused(tmp_path, monkeypatch):
    typed = types.ModuleType("typed_at_a_prompt")
    exec("class Typed:\n    def predict(self, X): return X", typed.__dict__)
    monkeypatch.setitem(sys.modules, "typed_at_a_prompt", typed)
    with pytest.raises(ArtifactUnsupported, match="no source file"):
        Model.wrap(typed.Typed()).save(tmp_path / "typed")
    assert list(tmp_path.iterdir()) == []


def test_what_is_local_and_what_is_not():
    local = {name: is_local(name) for name in ("json", "numpy", "sklearn.base", "streamb.errors", "nowhere.at_all")}
    assert local == dict.fromkeys(local, False)
    assert is_local("__main__")


def test_code_is_bounded(code):
    (code / "huge.py").write_text("def huge():\n    return '" + "x" * (9 << 20) + "'\n")
    collected = Definitions()
    collected.place(importlib.import_module("huge").huge)
    with pytest.raises(ArtifactUnsupported, match="8 MiB"):
        collected.bundle()


def test_the_digest_of_a_bundle_covers_names_and_contents():
    bundles = [SourceBundle(files) for files in ({"a.py": b"1"}, {"b.py": b"1"}, {"a.py": b"2"})]
    assert len({bundle.digest for bundle in bundles}) == 3


class Slotted:
    __slots__ = ("__dict__", "a")

    def __init__(self):
        self.a, self.b = 1, 2

    def predict(self, X):
        return np.full(len(X), self.a + self.b)


def test_slots_are_kept_and_fit_learns_a_schema_where_there_is_one(tmp_path):
    key = SigningKey.generate()
    Model.wrap(Slotted()).save(tmp_path / "s")
    sign_artifact(tmp_path / "s", key)
    assert load_artifact(tmp_path / "s", trusted=[key.public]).predict([[1]]).tolist() == [3]
    with pytest.raises(InvalidInput, match="no fit"):
        Model.wrap(Slotted()).fit([[1]])


@pytest.mark.parametrize("thing", [3, "model.pkl", {}, LogisticRegression, object()])
def test_what_cannot_become_a_model_is_told_so(thing):
    with pytest.raises(InvalidInput):
        Model.wrap(thing)


OLD_SCRIPT = """
import sys
from pathlib import Path
import pricing
try:
    import nowhere
except ImportError:
    nowhere = None
MARK = Path({mark!r})
RATE: float = 2.0
TEXT = "a" "b"
MARK.touch()
trained = MARK.touch()
for _ in range(2):
    MARK.touch()
if sys.argv:
    SIZE = len(TEXT)
    MARK.touch()
with MARK.open("w"):
    pass

class Old:
    def predict(self, X):
        return [RATE * pricing.BASE + (nowhere is None)] * len(X)

if __name__ == "__main__":
    MARK.touch()
assert MARK.touch()
"""


def test_an_older_artifact_loads_but_its_script_never_runs(tmp_path):
    folder, mark, key = tmp_path / "old", tmp_path / "ran", SigningKey.generate()
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "__main__.py").write_text(OLD_SCRIPT.format(mark=str(mark)))
    (folder / "code" / "pricing.py").write_text("BASE = int('100')\n")
    (folder / "object.json").write_text(json.dumps({"module": "__main__", "qualname": "Old"}))
    (folder / "state.skops").write_bytes(freeze({"attributes": {}}))
    seal(
        folder,
        framework="python",
        class_id="own",
        task="other",
        name="Old",
        schema={},
        carries_code=True,
        environment=Environment({}, {}),
    )
    sign_artifact(folder, key)
    model = load_artifact(folder, trusted=[key.public])
    assert model.predict([[1], [2]]).tolist() == [201.0, 201.0]
    assert not mark.exists()
    assert model.save(tmp_path / "again").digest == verify_artifact(folder).digest


class Forgets:
    def predict(self, X):
        return X

    def save(self, folder):
        (folder / "state").touch()

    @classmethod
    def load(cls, folder):
        raise ValueError("the file is empty")


SAVES = "def save(self, {0}): pass\n@classmethod\ndef load(cls, {0}): return cls()\n"


@pytest.mark.parametrize(
    ("module", "arguments", "own"),
    [
        (__name__, "folder", True),
        (__name__, "folder, deep=False", True),
        (__name__, "folder, name", False),
        ("json", "folder", False),  # an installed class, as the results of statsmodels, which pickle
    ],
)
def test_save_and_load_count_only_if_they_are_the_users_own_and_fit(module, arguments, own):
    scope: dict = {"__name__": module}
    exec(SAVES.format(arguments), scope)
    assert _saves_itself(type("Saves", (), {name: scope[name] for name in ("save", "load")})) is own
    assert not _saves_itself(type("Saves", (), {"save": scope["save"]}))


def test_a_state_that_its_class_cannot_read_is_refused(tmp_path):
    with pytest.raises(ArtifactUnsupported, match=r"Forgets\.load cannot read what Forgets\.save wrote: .* is empty"):
        Model.wrap(Forgets()).save(tmp_path / "forgets")
