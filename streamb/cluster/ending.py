"""Ends what runs on a Ray: a whole platform, or only what one start has made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from streamb.cluster.names import CONSOLE_APP, CONTROLLER, GATEWAY_APP, NAMESPACE, is_model_app
from streamb.cluster.ray_logs import keep_logs
from streamb.cluster.session import RaySession

_STOP_S: Final = 20.0
_SERVE_REPLICA: Final = "SERVE_REPLICA"


@dataclass(slots=True)
class Beginning:
    """A start under way.

    Attributes:
        session: the connection to Ray.
        state_dir: where the logs of a start that failed are kept.
        ran_before: whether parts of a platform ran on the cluster before this start.
        notes: what the start found and went on with, a sentence each.
        needs: what the platform needs and what there is, in numbers (`Need.facts`).
    """

    session: RaySession
    state_dir: Path
    ran_before: bool = False
    notes: list[str] = field(default_factory=list)
    needs: dict[str, Any] = field(default_factory=dict)

    def undo(self) -> Path | None:
        """End what this start has made, and nothing else; return where the logs are kept, if they are."""
        kept = self.keep_logs()
        if self.session.folder is None and self.ran_before:
            self.session.leave()
        else:
            stop_everything(self.session)
        return kept

    def keep_logs(self) -> Path | None:
        """Keep the logs of a Ray that this process has started; those of a cluster stay where they are."""
        return keep_logs(self.session.logs, self.state_dir) if self.session.folder is not None else None


def ours_among(actors: Iterable[Mapping[str, str]]) -> bool:
    """Return whether parts of a platform are among these actors (`name`, `namespace`): they ran before this start."""
    for actor in actors:
        if actor["namespace"] == NAMESPACE and actor["name"].startswith("streamb-"):
            return True
        kind, _, rest = actor["name"].partition("::")
        app = rest.partition("#")[0]
        if kind == _SERVE_REPLICA and (app in {GATEWAY_APP, CONSOLE_APP} or is_model_app(app)):
            return True
    return False


def stop_everything(session: RaySession) -> None:
    """Stop streamb's actors and applications, then disconnect from Ray."""
    from streamb.cluster.monitor import stop_monitor
    from streamb.cluster.node_collector import stop_collectors

    steps: list[Callable[[], None]] = [_stop_controller, stop_collectors, partial(stop_monitor, _STOP_S)]
    if session.folder is None:  # this Ray keeps running, so nothing of ours may remain on it
        steps.insert(1, _delete_apps)
    try:
        for step in steps:
            if session.alive:
                with contextlib.suppress(Exception):  # it may not exist yet; the others must be stopped all the same
                    step()
    finally:
        session.leave()


def _stop_controller() -> None:
    import ray

    controller = ray.get_actor(CONTROLLER, NAMESPACE)
    try:
        ray.get(controller.stop.remote(), timeout=_STOP_S)
    finally:
        ray.kill(controller)


def _delete_apps() -> None:
    """Delete the apps that take requests first, and wait; model versions end by themselves after their last batch."""
    from ray import serve

    for app in (GATEWAY_APP, CONSOLE_APP):
        serve.delete(app)
    for app in filter(is_model_app, serve.status().applications):
        serve.delete(app, _blocking=False)
