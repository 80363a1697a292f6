"""Importing the package is quick: scipy waits until a surrogate is fitted."""

from __future__ import annotations

import subprocess
import sys


def test_importing_loads_no_scipy():
    heavy = "{'scipy', 'sklearn', 'ray', 'pandas'}"
    code = f"import sys, streamb.hpo; print(sorted({{m.split('.')[0] for m in sys.modules}} & {heavy}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
