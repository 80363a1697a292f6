"""Models of every kind from a script without a guard: saved in one process, loaded in another, and the script ran once.

The script and its modules are in `carrying/`; it is written as users write, with effects at its top level.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamb.config import child_environment
from streamb.crypto import SigningKey
from streamb.models import sign_artifact, verify_artifact

SAMPLES = Path(__file__).with_name("carrying")
RAN = ["helper ran", "ran", "ran to the end"]


def run(*words: object, folder: Path, seed: int) -> subprocess.Popen[str]:
    environment = {**child_environment(), "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )


def answers(process: subprocess.Popen[str]) -> dict[str, object]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(output)


@dataclass(frozen=True)
class Carried:
    """What the script answered, what the loaded models answer, and where their artifacts are."""

    saved: dict[str, object]
    loaded: dict[str, object]
    first: Path
    second: Path


@pytest.fixture(scope="module")
def carried(tmp_path_factory) -> Carried:
    folder = tmp_path_factory.mktemp("carried")
    out = [folder / name / "out" for name in ("first", "second")]
    for each in out:
        each.mkdir(parents=True)
    shutil.copytree(SAMPLES, folder / "code")
    scripts = [run(folder / "code" / "script.py", each, folder=folder, seed=n) for n, each in enumerate(out)]
    saved = [answers(script) for script in scripts]
    assert saved[0] == saved[1]
    key = SigningKey.load_or_create(folder / "key")
    for path in out[0].iterdir():
        if path.is_dir():
            sign_artifact(path, key)
    (folder / "elsewhere").mkdir()
    shutil.move(folder / "code" / "load.py", folder / "elsewhere" / "load.py")
    shutil.rmtree(folder / "code")
    loaded = answers(run("load.py", out[0], folder / "key", folder=folder / "elsewhere", seed=7))
    return Carried(saved[0], loaded, *out)


def test_every_kind_answers_as_it_did_where_it_was_saved(carried):
    assert len(carried.saved) >= 55
    loaded = {kind: carried.loaded.get(kind) for kind in carried.saved}
    assert loaded == carried.saved


def test_the_script_and_its_modules_ran_once(carried):
    assert (carried.first / "ran").read_text().splitlines() == RAN


def test_the_same_script_gives_the_same_digests_whatever_the_hash_seed(carried):
    for kind in carried.saved:
        assert verify_artifact(carried.first / kind).digest == verify_artifact(carried.second / kind).digest, kind


def test_a_loaded_model_saved_again_is_the_same_content(carried):
    for kind in carried.saved:
        assert carried.loaded[f"{kind}: saved again"] == verify_artifact(carried.first / kind).digest, kind


def test_what_is_carried_is_readable_and_holds_definitions_only(carried):
    text = (carried.first / "plain class" / "code" / "__main__.py").read_text()
    assert '"""A class in a script without a guard."""' in text
    for effect in ("train(", "saved(", "print(", "open(", "Model.wrap"):
        assert effect not in text
    assert not list((carried.first / "package" / "code").rglob("script.py"))
