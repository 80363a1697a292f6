import subprocess
import sys

PROGRAM = """
import sys
from streamb.models.skops_import import skops_io
skops_io()
assert "torch" not in sys.modules
import torch
assert float(torch.ones(2).sum()) == 2
"""


def test_loading_skops_leaves_torch_alone_and_usable():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
