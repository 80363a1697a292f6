"""Versions with environments of their own on a real platform: two versions of one library side by side."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from streamb import ProductionMLManager
from streamb.errors import EnvironmentFailed, EnvironmentMismatch, NotFound
from tests.models.installed import install, write_wheel

pytestmark = pytest.mark.ray

ROWS = np.array([[1.0], [2.0]])


class SaysVersion:
    """Predicts the version of the library that it is made with."""

    def predict(self, X):
        import tinywheel

        return np.array([tinywheel.version] * len(X))


class Constant:
    """Needs no library."""

    def predict(self, X):
        return np.zeros(len(X))


@pytest.fixture
def manager(platform, state_dir):
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        yield manager


@contextmanager
def library_here(folder: Path, version: str) -> Iterator[None]:
    """The library in one version, installed where the model is made."""
    packages = folder / version / "site-packages"
    install(packages, "tinywheel", version, "tinywheel", f"version = {version!r}\n")
    sys.path.insert(0, str(packages))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(packages))
        sys.modules.pop("tinywheel", None)


def requirements(folder: Path, version: str) -> list[str]:
    """The library in one version, from a local folder: nothing is downloaded."""
    write_wheel(folder, "tinywheel", version, "tinywheel", f"version = {version!r}\n")
    return ["--no-index", f"--find-links {folder}", f"tinywheel=={version}"]


def test_a_version_whose_library_the_platform_lacks_is_refused_with_the_command(manager, tmp_path):
    with library_here(tmp_path, "1.0"), pytest.raises(EnvironmentMismatch, match=r"pip install 'tinywheel==1\.0\.\*'"):
        manager.register_model("lacking", "", "", SaysVersion(), "1.0.0", example=ROWS)
    with pytest.raises(NotFound):
        list(manager.list_versions("lacking"))


@pytest.mark.soak
def test_two_versions_answer_with_the_library_that_each_requires(manager, tmp_path):
    for version in ("1.0", "2.0"):
        model_id = f"tiny{version[0]}"
        with library_here(tmp_path, version):
            environment = {"pip": requirements(tmp_path, version)}
            made = manager.register_model(
                model_id, "", "", SaysVersion(), "1.0.0", example=ROWS, environment=environment
            )
        assert made.environment == environment
        assert made.trial.distributions["tinywheel"] == version
        deployment = manager.deploy_model(model_id=model_id, target_version="1.0.0", rollout_strategy="immediate")
        assert deployment.wait(timeout=180).state == "completed"
    for version in ("1.0", "2.0", "1.0"):
        assert manager.predict(f"tiny{version[0]}", ROWS.tolist()).predictions == [version] * 2


@pytest.mark.soak
def test_what_cannot_be_installed_is_refused_with_what_pip_says(manager, tmp_path):
    requirements = ["--no-index", f"--find-links {tmp_path}", "no-such-library==1.0"]
    with pytest.raises(EnvironmentFailed, match=r"No matching distribution found for no-such-library==1\.0"):
        manager.register_model("refused", "", "", Constant(), "1.0.0", environment={"pip": requirements})
    with pytest.raises(NotFound):
        list(manager.list_versions("refused"))
