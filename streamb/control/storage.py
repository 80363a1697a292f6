"""Tries the database and the artifact store of some settings before anything else is started."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from streamb.clock import SystemClock
from streamb.config import Settings, mask_secrets
from streamb.control.sizing import Share
from streamb.errors import StorageFailed, StreambError
from streamb.registry import Registry
from streamb.rollouts.ledger import Ledger
from streamb.rollouts.runtime import Resources
from streamb.security.platform_key import PlatformKey
from streamb.store import Database, open_blobs, open_database

LIMIT_S: Final = 30.0
"""How long the database or the artifact store may take to answer, in seconds."""
_STARTS: Final = ("control", "started")
_PROBE_BYTES: Final = 64

T = TypeVar("T")


def check_stores(settings: Settings, limit_s: float = LIMIT_S) -> tuple[Share, ...]:
    """Write to the database and the artifact store; return the replicas that the stored routes will start.

    Args:
        settings: where the stores are.
        limit_s: how long each may take, in seconds.

    Raises:
        StorageFailed: one cannot be reached, read or written; the message says which and why.
        ConfigError: a URL is wrong, or its driver is not installed.
    """
    database = mask_secrets(settings.resolved_database_url)
    artifacts = mask_secrets(settings.resolved_artifact_url)
    shares = _within(limit_s, f"the database {database} cannot be used", lambda: _try_database(settings))
    _within(limit_s, f"the artifact store {artifacts} cannot be used", lambda: try_artifacts(settings))
    return shares


def try_artifacts(settings: Settings) -> None:
    """Write a small blob to the artifact store, read it, and delete it."""
    blobs = open_blobs(settings.resolved_artifact_url)
    with tempfile.TemporaryDirectory(prefix="streamb-probe-", ignore_cleanup_errors=True) as folder:
        sent, got = Path(folder) / "sent", Path(folder) / "got"
        sent.write_bytes(secrets.token_bytes(_PROBE_BYTES))
        blob = blobs.put_file(sent)
        try:
            blobs.get_file(blob.digest, got)
        finally:
            with contextlib.suppress(StorageFailed):  # some may write and not delete, and only `delete` needs it
                blobs.delete(blob.digest)


def check_node(settings: Settings, sealed_url: bytes, limit_s: float = LIMIT_S) -> list[str]:
    """Return what keeps the node on which this runs from taking part in a platform; empty if nothing does.

    Args:
        settings: the settings of the platform, without secrets.
        sealed_url: the URL of the database, sealed with the platform key: a node that cannot open it has another key.
        limit_s: how long each store may take, in seconds.
    """
    try:
        url = PlatformKey.load(settings.state_dir).open(sealed_url).decode()
    except StreambError as error:
        return [f"the state directory {settings.state_dir} is not the one of the other nodes: {error.message}"]
    problems = []
    tries: dict[str, Callable[[], object]] = {
        f"the artifact store {mask_secrets(settings.resolved_artifact_url)}": lambda: try_artifacts(settings)
    }
    if not url.startswith("sqlite"):  # whose file only the Controller's node opens
        tries[f"the database {mask_secrets(url)}"] = lambda: open_database(url, SystemClock()).close()
    for store, work in tries.items():
        try:
            _within(limit_s, f"{store} cannot be used", work)
        except StreambError as error:
            problems.append(error.message)
    return problems


def _try_database(settings: Settings) -> tuple[Share, ...]:
    database = open_database(settings.resolved_database_url, SystemClock())
    try:
        database.records.put(*_STARTS, {"at": SystemClock().now()})  # a disk that is full lets itself be read
        return serving_shares(database, settings.min_instances)
    finally:
        database.close()


def serving_shares(database: Database, replicas: int) -> tuple[Share, ...]:
    """Return what the stored routes and the deployments under way will run, each version with `replicas` replicas."""
    ledger = Ledger(database.records, database.journal)
    registry = Registry(database.records, database.journal, SystemClock())
    wanted = {(one.model_id, one.target_version): one.run.resources for one in ledger.unfinished()}
    wanted |= {(route.model_id, route.version): route.run.resources for route in ledger.routes()}
    return tuple(share_of(registry, *which, resources, replicas) for which, resources in sorted(wanted.items()))


def share_of(registry: Registry, model_id: str, version: str, resources: Resources, replicas: int) -> Share:
    """Return the share of one version, with the size that its trial has measured, and what is reserved for it."""
    known = registry.known(model_id, version)
    return Share(f"{model_id} {version}", replicas, known.trial.memory_mb if known else None, resources)


def _within(limit_s: float, what: str, work: Callable[[], T]) -> T:
    """Run in a thread, since some drivers try for minutes; errors get `what` in front."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="try-store", daemon=True)
    thread.start()
    thread.join(limit_s)
    if failed:
        error = failed[0]
        if isinstance(error, StreambError):
            raise type(error)(f"{what}: {error.message}", **error.details) from error
        raise StorageFailed(f"{what}: {type(error).__name__}: {error}") from error
    if not done:
        raise StorageFailed(f"{what}: it has not answered within {limit_s:g} s")
    return done[0]
