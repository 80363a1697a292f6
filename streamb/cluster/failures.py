"""Why an app of Ray Serve does not run: who is to blame, and a reason in words, from what Serve and Ray say."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamb.rollouts.runtime import Fault

_LONGEST: Final = 500
_WAITS: Final = re.compile(r"required for each replica: (\{.*?\}), total resources available: (\{.*?\})\.")
_EXIT_CODE: Final = re.compile(r"exits with an exit code (-?\d+)")
_RAISED: Final = re.compile(
    r"^\s*(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Exit|Interrupt|Failed|Corrupt|Mismatch)\b"
)
_DIED: Final = ("ActorDiedError", "RayActorError", "WorkerCrashedError", "The actor died", "actor is dead")
_ENVIRONMENT: Final = ("RuntimeEnvSetupError", "Failed to set up runtime environment")
_NO_ROOM: Final = ("ActorUnschedulableError", "Unschedulable", "infeasible", "cannot be scheduled")
_RAYS_OWN: Final = (
    "ActorUnavailableError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectLostError",
    "OwnerDiedError",
    "RaySystemError",
    "RpcError",
    "Unexpected error occurred while",
)
_STORAGE: Final = ("StorageFailed", "No space left on device", "Read-only file system", "Stale file handle")
_OUT_OF_MEMORY: Final = ("running low on memory", "memory monitor", "OUT_OF_MEMORY", "OutOfMemory", "oom_context")
_COUNTED: Final = 3
"""The newest ends of processes that count: Serve gives an app up after so many of each replica in a row."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Death:
    """The end of one replica's process, as Ray tells it.

    Attributes:
        reason: Ray's name of the cause: NODE_DIED, WORKER_DIED, RAY_KILL, oom_context, …
        words: Ray's sentence.
        node: the node it ran on, for people.
    """

    reason: str
    words: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Who is to blame, and the reason in words."""

    fault: Fault
    reason: str


def failure_of(message: str, deaths: Callable[[], Sequence[Death]] = tuple) -> Failure:
    """Return why an app does not run.

    Args:
        message: what Serve says of the app and its deployments; may contain a traceback.
        deaths: returns how its replicas' processes ended, the latest last; called only if the message does not say.
    """
    last = last_line(message)
    if waits := _WAITS.search(message):
        return _waiting(waits[1], waits[2])
    if _any(_ENVIRONMENT, message):
        return Failure(Fault.VERSION, f"its environment could not be installed: {last}")
    if _any(_NO_ROOM, message):
        return Failure(Fault.INFRASTRUCTURE, f"no node has room for it: {last}")
    if _any(_STORAGE, last):
        return Failure(Fault.INFRASTRUCTURE, last)
    if _any(_DIED, last):
        return _died(deaths(), last)
    if _any(_RAYS_OWN, message):
        return Failure(Fault.INFRASTRUCTURE, f"Ray failed: {last}")
    if "Traceback (most recent call last)" in message or _RAISED.match(last):
        return Failure(Fault.VERSION, last)
    return Failure(Fault.UNKNOWN, last)


def last_line(message: str) -> str:
    """Return the last line of a message; that of a traceback says what happened."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:_LONGEST] if lines else ""


def deaths_of(app: str) -> list[Death]:
    """Ask Ray how the replicas of an app ended, the latest last; empty if it does not know. Takes milliseconds."""
    from ray._private.state import actors  # what `ray list actors` shows; the public form of it needs the dashboard

    try:
        dead = [
            one for one in actors(actor_state_name="DEAD").values() if one["Name"].startswith(f"SERVE_REPLICA::{app}#")
        ]
        return [_death(one) for one in sorted(dead, key=lambda one: one["EndTime"])]
    except Exception:  # a private interface: without it the reason says less
        _log.exception("Ray does not say how the replicas of %s ended", app)
        return []


def _death(actor: Mapping[str, Any]) -> Death:
    cause = actor["DeathCause"]
    kind = cause.WhichOneof("context") or ""
    context: Any = getattr(cause, kind, None)
    reason = kind
    if kind == "actor_died_error_context":
        reason = context.DESCRIPTOR.fields_by_name["reason"].enum_type.values_by_number[context.reason].name
    place = actor["Address"]
    return Death(reason, getattr(context, "error_message", ""), f"{place['NodeID'][:8]} ({place['IPAddress']})")


def _waiting(required: str, available: str) -> Failure:
    """It waits for a worker process: for room on a node, or until its environment is installed."""
    try:
        needed, free = ast.literal_eval(required), ast.literal_eval(available)
        lacking = {name: amount for name, amount in needed.items() if float(free.get(name, 0)) < float(amount)}
    except (ValueError, SyntaxError, TypeError, AttributeError):
        return Failure(Fault.UNKNOWN, f"its replicas wait for a place: each needs {required}, free are {available}")
    if not lacking:
        return Failure(Fault.UNKNOWN, "its replicas wait for a process; their environment may be being installed")
    need = " and ".join(f"{amount:g} {name}" for name, amount in lacking.items())
    free_now = " and ".join(f"{float(free.get(name, 0)):g} {name}" for name in lacking)
    return Failure(Fault.INFRASTRUCTURE, f"no node has room for it: a replica needs {need}, free in all are {free_now}")


def _died(deaths: Sequence[Death], last: str) -> Failure:
    """Its replicas' processes ended without an exception that Serve could see."""
    deaths = deaths[-_COUNTED:]
    for one in reversed(deaths):
        if one.reason == "NODE_DIED" or "node has died" in one.words:
            return Failure(Fault.INFRASTRUCTURE, f"node {one.node} was lost")
        if _any(_OUT_OF_MEMORY, one.words) or _any(_OUT_OF_MEMORY, one.reason):
            return Failure(Fault.INFRASTRUCTURE, f"node {one.node} ran out of memory, and its process was ended")
        if "SIGTERM" in one.words:
            return Failure(Fault.INFRASTRUCTURE, f"its process on node {one.node} was ended from outside (SIGTERM)")
        if code := _EXIT_CODE.search(one.words):
            return Failure(Fault.VERSION, f"its process ended by itself while loading, with exit code {code[1]}")
    if deaths and all(one.reason == "RAY_KILL" for one in deaths):
        return Failure(Fault.INFRASTRUCTURE, f"its process on node {deaths[-1].node} was ended from outside (ray.kill)")
    if any(one.reason == "WORKER_DIED" for one in deaths):
        what = f"its process ended {len(deaths)} times without an exit code while loading"
        return Failure(
            Fault.UNKNOWN, f"{what}: its code crashed, or it was killed (SIGKILL, or the kernel for lack of memory)"
        )
    return Failure(Fault.UNKNOWN, f"its process ended while loading; Ray says no more than {last}")


def _any(words: Sequence[str], text: str) -> bool:
    return any(word in text for word in words)
