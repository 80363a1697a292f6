"""HTML pages for people, rendered on the server: they load nothing from elsewhere and run no scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from streamb.api.console import Console, ConsoleDep
from streamb.api.data_plane import data_plane_document
from streamb.api.models import RunningModel
from streamb.api.monitoring import HealthAnswer, read_health
from streamb.api.platform import StatusAnswer, read_status
from streamb.clock import isoformat
from streamb.errors import StreambError
from streamb.monitoring.alerts.manager import AlertManager, ListedAlert
from streamb.monitoring.alerts.state import AlertPhase
from streamb.store import Page

router = APIRouter(include_in_schema=False)

_MOST_ALERTS: Final = 20
_STYLE: Final = """
:root { color-scheme: light dark; --line: #8883; --soft: #888; --good: #1a7f4b; --fair: #b7791f; --bad: #c0392b; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1rem; margin: 2.2rem 0 .5rem; }
p, li { color: var(--soft); } a { color: inherit; } code { font-size: .92em; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 500; color: var(--soft); }
.healthy, .running { color: var(--good); } .degraded, .starting { color: var(--fair); }
.unhealthy, .failed, .critical, .high { color: var(--bad); } .medium { color: var(--fair); }
.unknown { color: var(--soft); }
"""

_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
}


@router.get("/")
async def home(request: Request, console: ConsoleDep) -> HTMLResponse:
    """Return the status page: health, models, firing alerts."""
    try:
        status = await read_status(console, str(request.base_url).rstrip("/"))
        health = await read_health(console)
        firing = await _firing(console)
    except StreambError as error:
        body = f"<h1>streamb</h1><p class='unhealthy'>{escape(error.message)}</p>"
        return _page("streamb", body, status=error.status, refresh_s=5)
    return _page("streamb", _status_body(status, health, firing), refresh_s=10)


@router.get("/api/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/api/openapi-v2.json")
async def data_plane(console: ConsoleDep) -> JSONResponse:
    """Return the OpenAPI document of the data plane, which the gateways answer."""
    return JSONResponse(data_plane_document(api_key_required=console.settings.api_key_required))


@router.get("/api/docs")
async def docs(request: Request, console: ConsoleDep) -> HTMLResponse:
    """Return the description of both interfaces as an HTML page."""
    predictions = data_plane_document(api_key_required=console.settings.api_key_required)
    return _page("streamb API", _docs_body(predictions, request.app.openapi()))


async def _firing(console: Console) -> Page[ListedAlert]:
    """Return the most severe firing alerts; none if the Monitor does not answer, which the health part reports."""
    try:
        return await console.glance(AlertManager.list_alerts, _MOST_ALERTS, phase=AlertPhase.FIRING)
    except StreambError:
        return Page((), None)


def _status_body(status: StatusAnswer, health: HealthAnswer, firing: Page[ListedAlert]) -> str:
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in health.reasons)
    parts = [(name, _state(part.status), part.detail) for name, part in health.components.items()]
    return f"""
<h1>streamb <span class="{_css(health.status)}">{escape(health.status)}</span></h1>
<p>{escape(status.version)} · {escape(status.environment)} · up since {isoformat(status.started_at)} ·
{len(status.gateways)} gateway(s) · routing table {status.epoch}</p>
<ul>{reasons}</ul>
<h2>Models</h2>
{_models_table(status.models, health)}
{_alerts_table(firing)}<h2>Parts</h2>
{_table(("part", "state", "detail"), parts)}
<p><a href="/api/docs">API</a> · OpenAPI of the <a href="/api/openapi.json">control plane</a> and
<a href="/api/openapi-v2.json">predictions</a> · <a href="/metrics">metrics</a></p>
"""


def _alerts_table(firing: Page[ListedAlert]) -> str:
    if not firing.items:
        return ""
    rows = [
        (
            _state(alert["severity"]),
            alert["labels"].get("alertname", ""),
            " ".join(filter(None, (alert["labels"].get("model"), alert["labels"].get("version")))),
            str(alert["starts_at"]),
            alert["annotations"].get("summary", ""),
            "silenced" if alert["silenced_by"] else "inhibited" if alert["inhibited_by"] else "",
        )
        for alert in (one.to_json() for one in firing.items)
    ]
    more = "<p>There are more: <code>streamb alerts list</code></p>" if firing.next_cursor else ""
    return f"<h2>Alerts</h2>{_table(('severity', 'alert', 'of', 'since', '', ''), rows)}{more}"


def _models_table(models: Sequence[RunningModel], health: HealthAnswer) -> str:
    if not models:
        return "<p>No model is deployed. <code>streamb models register</code>, then <code>streamb deploy</code>.</p>"
    rows = []
    for model in models:
        for running in model.versions or (None,):
            serves = running is not None and running.version == model.serving_version
            rows.append(
                (
                    model.model_id,
                    running.version if running else model.serving_version or "none",
                    _state(running.state if running else "not running"),
                    str(running.replicas) if running else "0",
                    _state(_monitored(health, model.model_id, running.version if running else "")),
                    "all traffic" if serves else running.reason if running else "",
                )
            )
    return _table(("model", "version", "state", "replicas", "health", ""), rows)


def _monitored(health: HealthAnswer, model_id: str, version: str) -> str:
    """Return the health of a version as the Monitor reports it."""
    part = health.models.get(model_id)
    said: Mapping[str, Any] = getattr(part, "monitoring", None) or {}
    return str(said.get("versions", {}).get(version, "unknown"))


def _docs_body(predictions: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    groups: dict[str, list[tuple[str, str]]] = {}
    for described, other in ((predictions, "predictions"), (schema, "other")):
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                tag = operation.get("tags", [other])[0]
                what = operation.get("description") or operation.get("summary", "")
                groups.setdefault(tag, []).append((f"{method.upper()} {path}", what))
    sections = "".join(
        f"<h2>{escape(tag)}</h2>{_table(('request', 'what it does'), rows)}" for tag, rows in groups.items()
    )
    about = escape(schema["info"].get("description", ""))
    return (
        f"<h1>streamb API</h1><p>{about}</p>{sections}"
        '<p>Every parameter and answer, as OpenAPI: <a href="/api/openapi-v2.json">predictions</a>, '
        '<a href="/api/openapi.json">the rest</a> · <a href="/">status</a></p>'
    )


class _Markup(str):
    """Text that is already HTML and is not escaped again."""

    __slots__ = ()


def _state(state: str) -> _Markup:
    return _Markup(f'<span class="{_css(state)}">{escape(state)}</span>')


def _css(state: str) -> str:
    return state if state.isalpha() else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        return text if isinstance(text, _Markup) else escape(text)

    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"


def _page(title: str, body: str, *, status: int = 200, refresh_s: int | None = None) -> HTMLResponse:
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width">{refresh}<style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>"
    )
    return HTMLResponse(html, status_code=status, headers=_HEADERS)
