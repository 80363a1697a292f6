import json
import subprocess
import sys

import pytest

from streamb.models.skops_import import LIST, found_estimators, known_estimators

LEAVES_TORCH_ALONE = """
import sys
from streamb.models import skops_import
if {other}:
    skops_import.known_estimators = lambda: None
io = skops_import.skops_io()
assert "torch" not in sys.modules
import torch
assert float(torch.ones(2).sum()) == 2
from sklearn.utils import all_estimators
from skops.io import _trusted_types
names = {{f"{{one.__module__}}.{{one.__name__}}" for _, one in all_estimators()}}
assert set(_trusted_types.SKLEARN_ESTIMATOR_TYPE_NAMES) == names and len(names) > 150
"""


@pytest.mark.parametrize("other", [False, True], ids=["the pinned scikit-learn", "another scikit-learn"])
def test_skops_trusts_what_it_would_and_leaves_torch_alone(other):
    program = LEAVES_TORCH_ALONE.format(other=other)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_list_is_of_the_installed_version():
    assert known_estimators() == found_estimators(), "run: python -m streamb.models.skops_import"


def test_another_version_of_scikit_learn_is_noticed(monkeypatch, tmp_path):
    other = tmp_path / "list.json"
    other.write_text(json.dumps({**json.loads(LIST.read_text()), "version": "0.0.1"}))
    monkeypatch.setattr("streamb.models.skops_import.LIST", other)
    assert known_estimators() is None
