"""A Console over the real verbs in this process, and clients that call it without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.routing import BaseRoute

from streamb.api import create_app
from tests.api.artifacts import sklearn_archive
from tests.api.fakes import InProcess


@pytest.fixture
def backend(tmp_path):
    backend = InProcess(tmp_path / "state")
    yield backend
    backend.close()


_ROUTES: list[BaseRoute] = []
"""Of the first Console, for all: FastAPI makes the schemas of a route at its first request, which takes longer than
most tests."""


def client_of(backend: InProcess, **headers: str) -> httpx.AsyncClient:
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
    _ROUTES[:] = _ROUTES or app.router.routes
    app.router.routes[:] = _ROUTES
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers)


@pytest.fixture
async def client(backend) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(backend) as client:
        yield client


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """A packed scikit-learn model; carries no code."""
    return sklearn_archive(tmp_path_factory.mktemp("archive"))
