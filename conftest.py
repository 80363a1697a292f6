"""For all tests: no settings from the machine, no deadlines from its speed; which are slow; and examples that run too.

Examples: the Python in README.md and docs/, and the doctests in streamb's docstrings. Some need a running platform:
they are marked `ray`, so `make fast` leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser
from sybil.sybil import SybilCollection

from streamb.config import child_environment
from streamb.store import durable

# `make test` tries the same examples on every machine, for its verdict must not be a matter of luck; `make fast` tries
# fewer, and others each time. To search longer: pytest -m hypothesis --hypothesis-profile=search --hypothesis-seed=N
hypothesis.settings.register_profile("streamb", deadline=None, derandomize=True)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=20)
hypothesis.settings.register_profile("search", deadline=None, max_examples=500)
hypothesis.settings.load_profile("streamb")

_ROOT = Path(__file__).parent
_NEED_A_PLATFORM = (_ROOT / "README.md", _ROOT / "docs/deployments.md", _ROOT / "docs/scaling.md")
_SLOW = tuple(
    _ROOT / "tests" / name
    for name in (
        "api/test_openapi.py",
        "api/test_trials.py",
        "benchmarks",
        "cli",
        "cluster/edge",
        "conformance",
        "contracts",
        "hpo/reporting/test_reporting.py",
        "hpo/reporting/test_importance.py",
        "hpo/study/test_running.py",
        "hpo/test_spaces.py",
        "models/test_adapters.py",
        "models/test_carrying.py",
        "models/test_skops_file.py",
        "models/test_skops_import.py",
        "models/test_torch_values.py",
        "monitoring/channels/test_email.py",
        "monitoring/profiles/test_baseline.py",
        "rollouts/test_crashes.py",
        "rollouts/test_simulation.py",
        "sdk/test_deployment.py",
        "sdk/test_discovery.py",
        "sdk/test_http.py",
        "sdk/test_launch.py",
        "sdk/test_manager.py",
        "sdk/test_model_monitoring.py",
        "sdk/test_tuning.py",
        "serving/test_gateway_fallback.py",
        "serving/http/test_cors.py",
        "serving/http/test_listener.py",
        "serving/http/test_listener_heads.py",
        "serving/test_mixed_tables.py",
        "store/test_database.py",
        "store/test_sql_engine.py",
        "test_architecture.py",
        "test_docs.py",
        "test_scrape.py",
        "test_soak.py",
        "trials/test_process.py",
        "tune_jobs/test_optimize.py",
        "tune_jobs/test_train.py",
    )
)
"""Tests that start processes or servers, train, simulate, draw or wait: together they take longer than the others."""

_PATIENT_S = 600
"""For a test with a platform, instead of what pyproject.toml says: it waits for many things, each with a deadline of
its own that says what did not happen, and on a slow machine these add up."""

pytest_plugins = ["tests.cluster.session_platform", "tests.soak"]

pytest_collect_file = SybilCollection(
    (
        Sybil(
            parsers=[PythonCodeBlockParser()],
            patterns=["README.md", "docs/*.md"],
            excludes=["docs/deployments.md"],
            fixtures=["empty_folder"],
        ),
        Sybil(
            parsers=[PythonCodeBlockParser()],
            patterns=["docs/deployments.md"],
            fixtures=["empty_folder", "beside_a_platform"],
        ),
        Sybil(
            parsers=[DocTestParser()],
            path="streamb",
            patterns=["**/*.py"],
            document_types={".py": PythonDocStringDocument},
        ),
    )
).pytest()


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_this_machine() -> Iterator[None]:
    """Neither `ML_*` nor `NODE_ENV`, whatever the shell exports."""
    with pytest.MonkeyPatch.context() as patch:
        for name in child_environment():
            if name.upper().startswith("ML_") or name == "NODE_ENV":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def a_log_with_one_writer_waits_for_no_other() -> Iterator[None]:
    """A Monitor in a test is told one thing after the other; in processes of their own they linger as they do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "LINGER_S", 0.0)
        yield


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a new folder, as somebody who follows the README does."""
    monkeypatch.chdir(tmp_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a running platform, what is slow, and what may take long."""
    for item in items:
        if item.path in _NEED_A_PLATFORM:
            item.add_marker(pytest.mark.ray)
        if any(item.path.is_relative_to(slow) for slow in _SLOW):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("ray") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_PATIENT_S))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each file's tests in one process, however many there are: the examples of a document go on from one another."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


def pytest_configure() -> None:
    """Refuse a list that names what is no longer there."""
    gone = [str(path) for path in (*_NEED_A_PLATFORM, *_SLOW) if not path.exists()]
    if gone:
        raise pytest.UsageError(f"conftest.py names tests that do not exist: {', '.join(gone)}")
