"""Assembles the Console's application: routes, error handlers and the front door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from streamb.api import alerts, baselines, deployments, jobs, keys, models, monitoring, platform, sessions, versions
from streamb.api.auth import NEEDS_KEY, SECURITY_SCHEMES, KeyCache, needs_caller
from streamb.api.baselines import BaselineBody, BaselineForm
from streamb.api.console import Console
from streamb.api.dashboard import pages
from streamb.api.errors import ERRORS, install_error_handlers, known_parameters
from streamb.api.front_door import FrontDoor
from streamb.api.gate import Gate
from streamb.api.limits import LimitedAddresses, console_limits, counted_caller
from streamb.api.versions import VersionBody
from streamb.asking import Transport
from streamb.clock import Clock
from streamb.config import Settings
from streamb.errors import Unavailable
from streamb.registry import ArtifactStore
from streamb.security.oidc import issuer_of
from streamb.version import installed_version

_DESCRIPTION = """\
Registers models, brings their versions into traffic, and reports their health. Predictions are answered under `/v2`, by
the gateways. Every error has the form `{"error", "code", "request_id", …}`. Every change takes an `Idempotency-Key`:
repeated under the same key, it happens once. Lists are paged with `limit` and `cursor`.
"""


def create_app(
    control: Transport,
    artifacts: ArtifactStore,
    settings: Settings,
    clock: Clock,
    monitor: Transport | None = None,
    edge_secret: str = "",
) -> FastAPI:
    """Return the Console as an ASGI application.

    Args:
        control: carries calls to the verbs of the control side (`Control.verbs`).
        artifacts: checks and stores uploaded artifacts.
        settings: whether an API key is required, and the limits on a request's size and time.
        clock: gives the time for answers and for the cache of API keys.
        monitor: carries calls to the verbs of the Monitor; None if monitoring is disabled.
        edge_secret: what the edge proves itself with when it says where a request comes from; "" if there is no edge.
    """
    app = FastAPI(
        title="streamb",
        version=installed_version(),
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[needs_caller],
        redirect_slashes=False,
    )
    app.state.console = Console(control, monitor or _no_monitor, artifacts, settings, clock)
    app.state.keys = KeyCache(clock)
    app.state.people = issuer_of(settings, clock)
    app.state.callers = callers = console_limits(settings, clock, edge_secret)
    nouns = (models, versions, deployments, monitoring, baselines, alerts, jobs, keys, sessions, platform, pages)
    closed = [part.router for part in nouns]
    for router in closed:
        app.include_router(router, dependencies=[counted_caller, known_parameters], responses=ERRORS)
    app.include_router(platform.open_router, dependencies=[known_parameters])
    app.state.routers = [*closed, platform.open_router]
    install_error_handlers(app)
    app.add_middleware(Gate)
    app.add_middleware(LimitedAddresses, callers=callers, clock=clock)
    app.add_middleware(FrontDoor, settings=settings)
    app.openapi = lambda: _describe(app, settings)  # type: ignore[method-assign]  # the documented way
    return app


async def _no_monitor(_name: str, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> Any:
    """The transport that is used when there is no Monitor; raises Unavailable."""
    raise Unavailable("monitoring is not enabled on this platform (ML_MONITORING_ENABLED)", retry_after_s=60)


def _describe(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document; it is built on the first call."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = schema["components"]
        for read_by_hand in (VersionBody, BaselineBody, BaselineForm):
            described = read_by_hand.model_json_schema(ref_template="#/components/schemas/{model}")
            components["schemas"].update(described.pop("$defs", {}), **{read_by_hand.__name__: described})
        components["securitySchemes"] = SECURITY_SCHEMES
        if settings.api_key_required:
            schema["security"] = NEEDS_KEY
        app.openapi_schema = schema
    return app.openapi_schema
