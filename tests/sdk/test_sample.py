"""The sample model, and the line that asks it."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from streamb.sdk.sample import SAMPLE_ROW, curl_line, deploy_sample, train_sample


def test_the_sample_knows_its_flowers():
    import pandas as pd

    model, metadata = train_sample()
    assert metadata["metrics"]["accuracy"] > 0.9
    assert list(model.feature_names_in_) == list(SAMPLE_ROW)
    assert model.predict(pd.DataFrame([SAMPLE_ROW])).tolist() == ["virginica"]


def test_the_line_works_as_printed(manager, live):
    deploy_sample(manager)
    assert manager.predict("iris", [SAMPLE_ROW]).predictions == ["virginica"]
    line = curl_line(live.url, live.backend.api_key)
    assert line.startswith(f"curl -s {live.url}/v2/models/iris/predict ")
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout)["predictions"] == ["virginica"]


def test_the_key_is_in_the_line_only_where_it_is_needed():
    assert "Bearer KEY" in curl_line("http://127.0.0.1:8000", "KEY")
    assert "Bearer" not in curl_line("http://127.0.0.1:8000", None)


def test_the_line_may_read_the_key_from_its_file(tmp_path):
    file = tmp_path / "a folder" / "api-key"
    file.parent.mkdir()
    file.write_text("KEY\n")
    line = curl_line("http://127.0.0.1:8000", file)
    said = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout
    assert "Authorization: Bearer KEY" in said.splitlines()
    assert "KEY" not in line
