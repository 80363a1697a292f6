"""The layers hold, and would be seen to break; files and functions stay small; a gateway process stays light."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("streamb", "serve_apps", "tune_jobs")
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
PLUG_INS = {"streamb.models.adapters", "streamb.monitoring.channels"}
"""A new adapter or channel is one source file: the layers of these two need not name it."""
NO_LAYERS = {"streamb.store.migrations"}
LONGEST_FILE = 500
LONGEST_FUNCTION = 60  # 40 is the aim; a table of cases may be a little longer
HEAVY = ("torch", "onnx", "onnxruntime", "sklearn", "scipy", "pandas", "skops", "sqlalchemy", "alembic", "fastapi")


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def lint_imports(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    return subprocess.run([*command, *chosen], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source tree somewhere else, to plant mistakes in."""
    folder = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


class TestLayers:
    def test_all_contracts_are_kept(self):
        result = lint_imports(ROOT)
        assert result.returncode == 0, result.stdout + result.stderr
        assert f"{len(CONTRACTS)} kept, 0 broken" in result.stdout

    @pytest.mark.parametrize(
        ("contract", "file", "line"),
        [
            ("layers", "streamb/store/planted.py", "import streamb.registry"),
            ("layers", "streamb/errors_planted.py", ""),
            ("layers", "streamb/traffic/planted.py", "def late():\n    import streamb.models"),
            ("entrypoints", "streamb/cluster/planted.py", "import serve_apps"),
            ("ray", "streamb/serving/planted.py", "import ray"),
            ("ray", "streamb/control/planted.py", "def late():\n    from ray import serve"),
            ("ray", "streamb/cli/planted.py", "import ray"),
            ("fastapi", "streamb/cluster/planted.py", "import fastapi"),
            ("typer", "streamb/sdk/planted.py", "import typer"),
            ("sql", "streamb/registry/planted.py", "import sqlalchemy"),
            ("inside-monitoring", "streamb/monitoring/profiles/planted.py", "import streamb.monitoring.alerts.manager"),
            ("inside-rollouts", "streamb/rollouts/planted.py", ""),
            ("learning", "streamb/serving/planted.py", "def late():\n    import torch"),
            ("ray", "streamb/brand_new/__init__.py", "import ray"),
        ],
    )
    def test_a_planted_violation_is_caught(self, copy: Path, contract: str, file: str, line: str):
        planted = copy / file
        planted.parent.mkdir(exist_ok=True)
        planted.write_text(line + "\n")
        try:
            result = lint_imports(copy, contract)
        finally:
            planted.unlink()
        assert result.returncode == 1
        assert "0 kept, 1 broken" in result.stdout, result.stdout + result.stderr

    def test_every_package_of_several_modules_declares_its_inner_layers(self):
        packages = {path.parent for path in (ROOT / "streamb").rglob("*.py")} - {ROOT / "streamb"}
        large = {str(one.relative_to(ROOT)).replace("/", ".") for one in packages if len(list(one.glob("*.py"))) > 2}
        declared = {
            one["containers"][0]: one.get("exhaustive", False)
            for one in CONTRACTS.values()
            if one["type"] == "layers" and "containers" in one
        }
        assert large - NO_LAYERS - declared.keys() == set()
        assert {name for name, exhaustive in declared.items() if not exhaustive} == PLUG_INS

    def test_a_planted_cycle_is_caught(self, copy: Path):
        first, second = copy / "streamb/store/planted_a.py", copy / "streamb/store/planted_b.py"
        first.write_text("import streamb.store.planted_b\n")
        second.write_text("import streamb.store.planted_a\n")
        try:
            result = lint_imports(copy, "cycles")
        finally:
            first.unlink()
            second.unlink()
        assert result.returncode == 1
        assert "planted_" in result.stdout


class TestShape:
    def test_no_drawers(self):
        drawers = {"utils", "util", "helpers", "helper", "common", "misc", "shared"}
        assert [str(p) for p in sources() if p.stem in drawers or p.stem.startswith("base_")] == []

    def test_files_stay_readable(self):
        long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text().splitlines())) > LONGEST_FILE}
        assert long == {}

    def test_functions_stay_readable(self):
        long = {f"{path.relative_to(ROOT)}:{f.name}": n for path in sources() for f, n in functions(path)}
        assert {name: lines for name, lines in long.items() if lines > LONGEST_FUNCTION} == {}

    def test_every_module_says_what_it_is(self):
        silent = [p for p in sources() if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))]
        assert [str(p.relative_to(ROOT)) for p in silent] == []


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Every function of a file with the number of its lines, docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = first if ast.get_docstring(node) is not None else None
            spent = documented.end_lineno - documented.lineno + 1 if documented else 0
            yield node, node.end_lineno - node.lineno + 1 - spent


@pytest.mark.parametrize(
    ("module", "brought_by_ray"), [("streamb.serving", ""), ("streamb.cluster.gateway", "pandas fastapi")]
)
def test_a_gateway_process_loads_no_heavy_library(module: str, brought_by_ray: str):
    """What a prediction passes through starts fast and stays small: learning libraries live in the model's process."""
    unwanted = [name for name in HEAVY if name not in brought_by_ray.split()]
    asked = f"import sys, {module}; print([name for name in {unwanted!r} if name in sys.modules])"
    child = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert child.stdout.strip() == "[]", child.stdout + child.stderr
