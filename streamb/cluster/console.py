"""The Console deployment: the control API and the status page, on a listener of its own behind the edge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import serve

from streamb.api import create_app
from streamb.clock import SystemClock
from streamb.cluster.actor_transport import ActorTransport
from streamb.cluster.background import log_to_file
from streamb.cluster.environments import run_in_environment
from streamb.cluster.listener import Listener, own_address
from streamb.cluster.names import CONSOLE, CONTROLLER, MONITOR
from streamb.cluster.reporting import Heartbeat
from streamb.cluster.session import QUIET
from streamb.config import Settings
from streamb.control.observations import NodeReport
from streamb.control.platform import open_artifacts, open_trier
from streamb.crypto import PublicKey, SigningKey
from streamb.errors import Unavailable
from streamb.models.example import Example
from streamb.registry.trial import Tried
from streamb.security.platform_key import PlatformKey


class Console:
    """One console process."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        log_to_file()
        signing = SigningKey.load_or_create(signing_key_path(settings))
        artifacts = open_artifacts(settings, signing, signing.public, _Trier(settings, signing.public))
        control = _transport(CONTROLLER, "controller", settings)
        monitor = _transport(MONITOR, "monitor", settings) if settings.monitoring_enabled else None
        edge_secret = PlatformKey.load(settings.state_dir).edge_secret
        app = create_app(control, artifacts, settings, SystemClock(), monitor, edge_secret)
        self._callers = app.state.callers
        context = ray.get_runtime_context()
        self._source = f"console-{context.get_actor_id()}"
        self._node = context.get_node_id()
        self._listener = Listener(app, own_address(settings))
        self._heartbeat = Heartbeat(self._report)
        self._heartbeat.start()

    async def __del__(self) -> None:
        """Stop the listener; Serve awaits this when it stops the replica."""
        await self._heartbeat.stop()
        await self._listener.close()

    async def check_health(self) -> None:
        """Serve asks this every few seconds; raising three times makes it replace the replica."""
        if not self._listener.alive:
            raise Unavailable("the console's listener has ended")
        self._heartbeat.ensure()

    def _report(self) -> NodeReport:
        limited, pid = dict(self._callers.counted), psutil.Process().pid
        return NodeReport("console", self._source, self._node, pid, self._listener.endpoint, limited=limited)


class _Trier:
    """Tries each version in a fresh process; a version with an environment of its own in that environment."""

    def __init__(self, settings: Settings, trusted: PublicKey) -> None:
        self._settings = settings
        self._trusted = trusted
        self._here = open_trier(settings, trusted)

    def __call__(
        self, folder: Path, example: Example | None, environment: Mapping[str, list[str]] | None = None
    ) -> Tried:
        if not environment:
            return self._here(folder, example)
        return run_in_environment(
            environment,
            _try,
            self._settings,
            self._trusted,
            folder,
            example,
            install_timeout_s=self._settings.environment_timeout_s,
            timeout_s=2 * self._settings.trial_timeout_s,
        )


def _try(settings: Settings, trusted: PublicKey, folder: Path, example: Example | None) -> Tried:
    """Try a version in the environment of this process."""
    return open_trier(settings, trusted)(folder, example)


def _transport(actor: str, part: str, settings: Settings) -> ActorTransport:
    gone = f"the {part} is not running (it may be restarting); try again in a few seconds"
    return ActorTransport(actor, f"the {part}", settings.request_timeout_s, when_gone=gone, back_in_s=2)


def signing_key_path(settings: Settings) -> Path:
    """Return the path of the platform's own signing key."""
    return settings.state_dir / "keys" / "signing.pem"


def console_application(settings: Settings) -> Any:
    """Return the console as a Serve application; run it with `route_prefix=None`."""
    deployment = serve.deployment(
        name=CONSOLE,
        num_replicas=settings.console_replicas,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=2,
        logging_config=QUIET,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=5,
    )
    return deployment(Console).bind(settings.without_secrets())
