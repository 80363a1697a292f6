"""The protocol through a real platform: edge, gateway, link, replica; with Triton's client and with kserve's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from streamb.config import child_environment
from tests.conformance.asking import ROWS, given, refused, same, texts, wanted
from tests.conformance.zoo import DATATYPES
from tests.soak import results_folder

pytestmark = pytest.mark.ray

KSERVE = "kserve>=0.15"
"""Does not resolve with what streamb pins, so it has an environment of its own, in the folder of results."""


@pytest.fixture
def client(platform, platform_models):
    address = platform.url.removeprefix("http://")
    with triton.InferenceServerClient(address, network_timeout=60, connection_timeout=60) as opened:
        yield opened


def test_the_protocol_through_the_edge(client, platform_models):
    echo, named = platform_models
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(named)
    assert client.is_model_ready(named, "1.0.0")
    assert not client.is_model_ready(named, "9.9.9")
    assert client.get_model_metadata(named)["versions"] == ["1.0.0"]
    for options in ({}, {"request_compression_algorithm": "gzip"}, {"request_compression_algorithm": "deflate"}):
        result = client.infer(named, [given(ROWS)], request_id="mine", **options)
        same(result.as_numpy("score"), ROWS.sum(axis=1).astype(np.float32))
        same(result.as_numpy("label"), texts("up", "down"))
        assert result.get_response()["id"] == "mine"
    for dtype in DATATYPES.values():
        values = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
        for binary in (True, False):
            outputs = wanted("predictions", binary=binary)
            same(client.infer(echo, [given(values, binary=binary)], outputs=outputs).as_numpy("predictions"), values)
    assert "x2" in refused(422, client.infer, named, [given(ROWS[:, :2])])
    refused(404, client.infer, "none", [given(ROWS)])


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_kserve_s_client(platform, platform_models):
    script = Path(__file__).with_name("kserve_client.py")
    command = [kserve_python(results_folder() / "kserve"), "-I", "-W", "ignore", script, platform.url, *platform_models]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= 25


def kserve_python(folder: Path) -> Path:
    """The Python of an environment that has kserve; made once. Skips the test where it cannot be installed."""
    python = folder / "bin" / "python"
    has_it = [python, "-I", "-W", "ignore", "-c", "import kserve"]
    if python.exists() and subprocess.run(has_it, capture_output=True, timeout=120).returncode == 0:
        return python
    commands = (
        [sys.executable, "-m", "venv", "--clear", folder],
        [python, "-I", "-m", "pip", "install", "-q", KSERVE],
        has_it,
    )
    for command in commands:
        done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=900)
        if done.returncode:
            pytest.skip(f"{KSERVE} cannot be installed here: {done.stderr.strip()[-500:]}")
    return python
