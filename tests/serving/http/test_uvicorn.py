"""What the listener needs of uvicorn's internals. If a test here fails after an upgrade, listener.py needs a look."""

import tomllib
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamb.errors import StartFailed
from streamb.serving.http import listener

WHAT_TO_DO = (
    "compare httptools_impl.py of this uvicorn with that of the last tested one, adapt "
    "streamb/serving/http/listener.py, run tests/serving/http and tests/conformance, and only then widen the range in "
    "pyproject.toml"
)


def test_the_installed_uvicorn_is_one_that_is_tested():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert listener.TESTED_UVICORN in project["project"]["dependencies"]
    lowest, highest = (
        bound.split("=")[-1].lstrip("<>") for bound in listener.TESTED_UVICORN[len("uvicorn") :].split(",")
    )
    here = tuple(int(part) for part in uvicorn.__version__.split(".")[:2])
    assert tuple(map(int, lowest.split("."))) <= here < tuple(map(int, highest.split("."))), WHAT_TO_DO


def test_the_internals_are_there():
    assert listener.missing_internals() == [], WHAT_TO_DO


def test_without_them_the_listener_does_not_start_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(listener, "_INTERNALS", {HttpToolsProtocol: "pipeline _should_upgrade a_new_one"})
    with pytest.raises(StartFailed, match=r"lacks HttpToolsProtocol\.a_new_one; .*uvicorn>=0\.\d+,<0\.\d+"):
        listener.listener_config(None, host="127.0.0.1", port=0)
