"""Ray's token authentication: on in every Ray that streamb starts, demanded of every cluster that it joins.

Without it, whoever reaches a port of the cluster can run code there, as Ray unpickles what it is sent. The token is the
boundary of the platform: who has it can do everything that the platform's processes can (docs/security.md).
"""

from __future__ import annotations

import logging
import secrets
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from streamb.config import default_environment, read_variable, set_variable
from streamb.crypto import create_once
from streamb.errors import RayUnprotected, StartFailed, StorageFailed
from streamb.store.state_dir import KEYS

MODE: Final = "RAY_AUTH_MODE"
TOKEN: Final = "RAY_AUTH_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_PATH: Final = "RAY_AUTH_TOKEN_PATH"  # noqa: S105
ON: Final = "token"

HOW: Final = (
    f"on every node, set {MODE}={ON} before `ray start`; make a token once with `ray get-auth-token --generate` and "
    f"give each node the same file by {TOKEN_PATH}; then start Ray again on all nodes, and set both variables here"
)
"""What to do about a cluster without token authentication."""

TOKEN_FILE: Final = "ray-token"  # noqa: S105 - the name of a file
"""The token of a Ray that streamb started: a file in the folder of keys of the state directory."""

_TOKEN_BYTES: Final = 32
_ASK_S: Final = 10.0
_RAY_CLIENT: Final = "ray://"
_log = logging.getLogger(__name__)


class Protection(StrEnum):
    """Whether a cluster demands a token."""

    TOKEN = "token"  # noqa: S105 - the word, not a secret
    NONE = "none"
    UNKNOWN = "unknown"


def protect_new_ray(state_dir: Path | None = None) -> None:
    """Turn token authentication on in this process and all that it starts; call it before Ray is started here.

    The token is that of `RAY_AUTH_TOKEN` or `RAY_AUTH_TOKEN_PATH`, else the one in the state directory, where processes
    of the platform find it, and which, unlike a home directory, can always be written.

    Args:
        state_dir: the state directory; None: the token is only in the environment of this process and its children.

    Raises:
        RayUnprotected: `RAY_AUTH_MODE` turns authentication off.
        StorageFailed: the token cannot be written to the state directory, or read there.
    """
    mode = read_variable(MODE)
    if mode is not None and mode.lower() != ON:
        raise RayUnprotected(f"streamb starts Ray with token authentication only; unset {MODE}, which is {mode!r}")
    given = read_variable(TOKEN) or read_variable(TOKEN_PATH)
    if not given or given in _MADE:
        _provide_token(state_dir)
    _turn_on()


def demand_token(address: str, environment: str) -> None:
    """Check that a cluster demands a token, and get this process ready to send it; call it before joining.

    Args:
        address: as `ray.init` takes it: "auto" or HOST:PORT.
        environment: in development, an unprotected cluster gives a warning; anywhere else it is refused.

    Raises:
        RayUnprotected: the cluster does not demand a token, or it cannot be told whether it does.
        StartFailed: nothing answers at the address.
    """
    protection, found = protection_of(address)
    if protection is Protection.TOKEN:
        if read_variable(MODE) is None:
            _turn_on()
        return
    if environment != "development":
        raise RayUnprotected(
            f"the environment {environment} joins no Ray cluster without token authentication: {found}"
        )
    _warn_once(found)


def demand_token_here(environment: str) -> None:
    """Check the cluster that this process is connected to, as `demand_token` does."""
    import ray

    demand_token(ray.get_runtime_context().gcs_address, environment)


def protection_of(address: str) -> tuple[Protection, str]:
    """Ask a cluster a harmless question without a token; return whether it refuses, and a sentence about it.

    Raises:
        StartFailed: nothing answers at the address.
    """
    if address.startswith(_RAY_CLIENT):
        return Protection.UNKNOWN, (
            f"an address of Ray Client ({address}) does not tell whether the cluster demands a token; "
            "use HOST:6379, the address of the head node"
        )
    import grpc

    head = _resolved(address)
    try:
        _ask_without_token(head)
    except grpc.RpcError as error:
        code = error.code()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return Protection.TOKEN, f"{head} demands a token"
        if code is grpc.StatusCode.UNAVAILABLE:
            raise StartFailed(
                f"nothing answers at the Ray address {head}; check that the cluster is running"
            ) from error
        return Protection.UNKNOWN, (
            f"the head node {head} answered {code.name} where one with token authentication answers UNAUTHENTICATED; "
            "use the address HOST:6379 of a head node with the pinned release of Ray"
        )
    return Protection.NONE, f"the Ray cluster at {head} lets anybody in who reaches its ports; {HOW}"


def _resolved(address: str) -> str:
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        return str(canonicalize_bootstrap_address_or_die(address))
    except Exception as error:
        raise StartFailed(f"no Ray cluster is found at {address!r}: {error}; start one, or name its address") from error


def _ask_without_token(head: str) -> None:
    """Call the head's `CheckAlive` as a stranger would; raises `grpc.RpcError` if it is refused or fails."""
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    generated: Any = gcs_service_pb2
    with _channel(grpc, head) as channel:
        stub: Any = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.CheckAlive(generated.CheckAliveRequest(), timeout=_ASK_S)


def _channel(grpc: Any, head: str) -> Any:
    """A channel that adds no token, with TLS where Ray uses it (`RAY_USE_TLS`)."""
    if (read_variable("RAY_USE_TLS") or "0").lower() not in {"1", "true"}:
        return grpc.insecure_channel(head)
    from ray._common.tls_utils import load_certs_from_env

    chain, key, authority = load_certs_from_env()  # type: ignore[no-untyped-call]
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    return grpc.secure_channel(head, credentials)


_MADE: Final[set[str]] = set()
"""Values of the two variables that this process has set itself: they do not bind its next Ray."""


def _provide_token(state_dir: Path | None) -> None:
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    token = secrets.token_hex(_TOKEN_BYTES)
    name, value = TOKEN, token
    if state_dir is not None:
        file = state_dir / KEYS / TOKEN_FILE
        try:
            if not file.exists() or not file.read_text().strip():
                file.unlink(missing_ok=True)
                create_once(file, token.encode())
        except OSError as error:
            raise StorageFailed(f"Ray's token {file} cannot be read or written: {error.strerror}") from error
        name, value = TOKEN_PATH, str(file)
    set_variable(TOKEN if name == TOKEN_PATH else TOKEN_PATH, None)  # one that an earlier Ray of this process has left
    set_variable(name, value)
    _MADE.add(value)
    AuthenticationTokenLoader.instance().reset_cache()  # it may have looked before there was a token


def _turn_on() -> None:
    from ray._raylet import Config  # type: ignore[attr-defined]

    default_environment({MODE: ON})
    Config.initialize("")  # Ray may have read the variable already


@cache
def _warn_once(found: str) -> None:
    _log.warning("%s. This is accepted in development only", found)
