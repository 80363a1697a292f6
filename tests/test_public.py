"""What `import streamb` shows, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamb

HEAVY = ("ray", "torch", "sklearn", "pandas", "numpy", "fastapi", "httpx", "pydantic", "sqlalchemy", "onnxruntime")


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_imports_nothing_heavy():
    program = f"import sys, streamb; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(program).strip() == "[]"


def test_the_manager_needs_no_model_library():
    program = "import sys, streamb; streamb.ProductionMLManager; print('ray' in sys.modules, 'torch' in sys.modules)"
    assert python(program).split() == ["False", "False"]


@pytest.mark.parametrize("name", streamb.__all__)
def test_every_public_name_is_there(name):
    assert getattr(streamb, name).__name__ == name
    assert name in dir(streamb)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = streamb.nothing_of_ours
    assert streamb.__version__


def test_the_module_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "streamb", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == streamb.__version__
