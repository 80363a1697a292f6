"""What HAProxy is configured with: backends, limits, and the answers that it gives itself. Pure text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from streamb.control.observations import Endpoint
from streamb.serving.callers import CLIENT_HEADER
from streamb.serving.http.cors import EXPOSED
from streamb.serving.http.origins import ANY
from streamb.serving.http.routes import NOT_IN_PATHS

Backend = Literal["gateways", "feedback", "late", "consoles"]
BACKENDS: Final[tuple[Backend, ...]] = get_args(Backend)

STEERING_HEADERS: Final = (
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "serve_multiplexed_model_id",
    "x-session-id",
)
"""Headers by which a client could steer Ray Serve from outside; the edge removes them."""
STEERING_PREFIX: Final = "x-serve-"

SOFT_STOP_S: Final = 5.0
_CHECK: Final = "check inter 500 rise 1 fall 3"
_LATE_CHECK: Final = "check inter 2s fastinter 500 downinter 500 rise 1 fall 3"
_MOST_HEADERS: Final = 500
_BUFFERED: Final = "option http-buffer-request"
"""A request is sent again only if all of it is at hand (as far as a buffer holds it), and slow senders are kept off.

It belongs in the backends: the frontend, which must be silent about what is no HTTP, would say nothing of a late body.
"""
_ABOUT: Final = """\
    acl feedback var(txn.feedback) -m bool
    http-request set-var(txn.about) req.body,json_query('$.request_id') if feedback
    # What is compressed cannot be read here: all of it goes to the same gateway.
    http-request set-var(txn.about) str(compressed) if feedback { req.hdr(content-encoding) -m found }"""
_SILENCE: Final = "\n".join(f"    errorfile {status} /dev/null" for status in (400, 408, 413, 422, 500, 501))


@dataclass(frozen=True, slots=True)
class Server:
    """A gateway or console as a server in HAProxy's configuration."""

    backend: Backend
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """The edge's address, time limits and size limits.

    Attributes:
        admin_socket: path of the Unix socket of the runtime API; at most 100 bytes.
        certificate: PEM with chain and key together; None for plain HTTP.
        answer_timeout_s: longest silence of a gateway in seconds; longer than the gateway's own time limit.
        console_timeout_s: the same for a Console, which tries a version before it answers an upload; None: the same.
        check_timeout_s: a gateway whose health checks take longer (seconds) gets no requests while another is faster.
        cors_origins: the sites whose pages may read what the edge answers itself to requests for /v2.
        secret: what proves to gateways and consoles that the edge sent a request; "" if they need no proof.
        max_body_bytes: size limit of a request to a gateway, where the edge buffers it (HAProxy does not).
    """

    host: str
    port: int
    admin_socket: Path
    certificate: Path | None
    answer_timeout_s: float
    check_timeout_s: float = 5.0
    max_body_bytes: int = 16 * 1024 * 1024
    threads: int = 1
    cors_origins: tuple[str, ...] = ()
    console_timeout_s: float | None = None
    secret: str = field(default="", repr=False)

    def silence_of(self, backend: Backend) -> float:
        """Return the longest silence of a server of this backend, in seconds."""
        own = self.console_timeout_s if backend == "consoles" else None
        return self.answer_timeout_s if own is None else own


_REFUSALS: Final = {
    400: (
        "bad_request",
        "this request cannot be read, or the client closed its side of the connection before the answer",
    ),
    408: ("request_timeout", "the request did not arrive in time"),
    500: ("internal_error", "the edge failed; send the request again"),
    502: ("unavailable", "the server ended before it answered; send the request again if repeating it is safe"),
    503: ("unavailable", "no server behind the edge took the request; send it again"),
    504: ("timeout", "the server did not answer in time; send less at once, or try again later"),
}
"""The edge's own error answers: code and message, by status."""


def refusal(status: int) -> str:
    """Return the body of the edge's own error answer: JSON like every other error."""
    code, words = _REFUSALS[status]
    return f'{{"error":"{words}","code":"{code}"}}'


def unavailable(backend: Backend) -> str:
    """Return the body of the answer when a backend has no server: JSON like every other error."""
    who = "consoles" if backend == "consoles" else "gateways"
    return f'{{"error":"none of the {who} is ready; try again shortly","code":"unavailable"}}'


def render(config: EdgeConfig, known: Mapping[str, Server] | None = None, listener: int | None = None) -> str:
    """Return HAProxy's configuration. Servers come and go through the runtime API, so it is never reloaded.

    Args:
        config: address and limits.
        known: servers that have answered before, by name: a HAProxy that takes over sends them requests at once.
        listener: file descriptor of the listening socket; None: HAProxy opens it itself.
    """
    return "\n\n".join(
        (_general(config), _frontend(config, listener), _gateways(config, known), _consoles(config, known))
    )


def _general(config: EdgeConfig) -> str:
    return f"""\
global
    nbthread {config.threads}
    # A second process must fail to bind, not share the port: it would take every other connection.
    noreuseport
    stats socket {config.admin_socket} mode 600 level admin
    hard-stop-after {int(SOFT_STOP_S)}s
    ssl-default-bind-options ssl-min-ver TLSv1.2
    tune.http.maxhdr {_MOST_HEADERS}

defaults
    mode http
    timeout connect 2s
    timeout http-request 30s
    timeout http-keep-alive 60s
    timeout client 60s
    timeout queue 5s
    timeout check {config.check_timeout_s * 1000:.0f}ms
    timeout server {config.silence_of("gateways"):.0f}s
    option redispatch 1
    retries 3
    # Predictions have no side effects: a gateway that died before it answered may be asked again elsewhere.
    retry-on conn-failure empty-response
    http-reuse always
{_own_errors()}"""


def _frontend(config: EdgeConfig, listener: int | None) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    bind = f"{host}:{config.port}" if listener is None else f"fd@{listener}"
    tls = f" ssl crt {config.certificate} alpn h2,http/1.1" if config.certificate else ""
    strip = "\n".join(f"    http-request del-header {header}" for header in STEERING_HEADERS)
    client = CLIENT_HEADER.decode()
    named = f'set-header {client} "{config.secret} %[src]"' if config.secret else f"del-header {client}"
    encoded = _as_json(f'{{"error":"{NOT_IN_PATHS}","code":"bad_request"}}')
    return f"""\
frontend edge
    bind {bind}{tls}
    # HAProxy 2.8 answers what is no HTTP, and heads that do not end or are larger than its buffer (16 kB; a larger one
    # costs every request a copy of it), with a page of its own, whatever `http-error` says (its issue 3032), or not at
    # all: then it only closes the connection.
{_SILENCE}
{strip}
    http-request del-header {STEERING_PREFIX} -m beg
    # Where the request comes from; whatever a client says of that itself is replaced.
    http-request {named}
    acl data path /v2
    acl data path_beg /v2/
    http-request set-var(txn.feedback) bool(true) if {{ path_end /feedback }} {{ path_beg /v2/models/ }}
{_cors(config.cors_origins)}
    http-request return status 400 {encoded} if {{ path -m sub % }} {{ path -i -m sub %2f %5c %25 %00 }}
    use_backend late if data {{ nbsrv(gateways) eq 0 }}
    use_backend feedback if {{ var(txn.feedback) -m bool }}
    use_backend gateways if data
    default_backend consoles"""


def _gateways(config: EdgeConfig, known: Mapping[str, Server] | None) -> str:
    by_what_it_is_about = f"""\
    balance hash var(txn.about)
    hash-type consistent
{_ABOUT}"""
    first = """\
    balance leastconn
    # A client that leaves is not waited for: its connection to the gateway is closed, queued or not, and the gateway
    # stops its work. (One that closes only its sending side has left, too: nothing tells the one from the other.)
    option abortonclose"""
    feedback = f"""\
{by_what_it_is_about}
    retry-on conn-failure"""
    late = f"""\
{by_what_it_is_about}
    timeout check {config.answer_timeout_s * 1000:.0f}ms
    http-request disable-l7-retry if feedback
    option abortonclose"""
    return f"""\
{_of_gateways("gateways", first, known)}

# The same gateways again: what is said of one prediction goes to one of them, which knows what was said before.
{_of_gateways("feedback", feedback, known)}

# The same gateways once more, for when the checks of all of them are late: then the machine is busy, and late answers
# are better than none. A check may take as long as a request; a gateway that is dead or not ready fails it at once.
{_of_gateways("late", late, known)}"""


def _of_gateways(backend: Backend, own: str, known: Mapping[str, Server] | None) -> str:
    """Return a backend of gateways: its own lines, and those that all have."""
    return f"""\
backend {backend}
{own}
    {_BUFFERED}
    option httpchk GET /v2/health/ready
    http-error status 503 {_as_json(unavailable("gateways"))} hdr Retry-After 1
{_servers(backend, known)}"""


def _servers(backend: Backend, known: Mapping[str, Server] | None) -> str:
    servers = {} if known is None else {name: one.endpoint for name, one in known.items() if one.backend == backend}
    return "\n".join(f"    server {name} {address_of(one)} {check_of(backend)}" for name, one in servers.items())


def check_of(backend: Backend) -> str:
    """Return how HAProxy checks the servers of a backend."""
    return _LATE_CHECK if backend == "late" else _CHECK


def address_of(endpoint: Endpoint) -> str:
    """Return HOST:PORT; an IPv6 address is bracketed."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def _cors(origins: tuple[str, ...]) -> str:
    """The headers that gateways set for browsers, also on answers of the edge itself."""
    if not origins:
        return ""
    allowed = ANY if ANY in origins else "%[var(txn.origin)]"
    asks = "{ var(txn.origin) -m found }" if ANY in origins else f"{{ var(txn.origin) -m str {' '.join(origins)} }}"
    return f"""\
    http-request set-var(txn.origin) req.hdr(origin) if data
    http-request set-var(txn.data) bool(true) if data
    http-after-response set-header access-control-allow-origin {allowed} if {asks}
    http-after-response set-header access-control-expose-headers "{EXPOSED}" if {asks}
    http-after-response set-header vary Origin if {{ var(txn.data) -m bool }}"""


def _consoles(config: EdgeConfig, known: Mapping[str, Server] | None) -> str:
    return f"""\
backend consoles
    balance leastconn
    {_BUFFERED}
    timeout server {config.silence_of("consoles"):.0f}s
    retry-on conn-failure
    option httpchk GET /healthz
    http-error status 503 {_as_json(unavailable("consoles"))} hdr Retry-After 1
{_servers("consoles", known)}
"""


def _own_errors() -> str:
    return "\n".join(f"    http-error status {status} {_as_json(refusal(status))}" for status in _REFUSALS)


def _as_json(body: str) -> str:
    """Format a body for HAProxy's `http-error`."""
    escaped = body.replace('"', r"\"")
    return f'content-type application/json string "{escaped}"'
