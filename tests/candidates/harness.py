"""Deploys one candidate as a canary under load, waits for what becomes of it, and looks at what is left."""

from __future__ import annotations

import time
from typing import Any

import httpx

from streamb import Deployment, ProductionMLManager
from streamb.errors import StreambError
from tests.candidates.entry import AT_ORDER, DONE, REFUSED, WAITS, Candidate, Outcome
from tests.candidates.families import FAMILIES, USERS, Family, example_of
from tests.cluster.load import Load
from tests.cluster.processes import until

STABLE = "1.0.0"
BAKE_S = 6
OPTIONS = {
    "steps": [10, 50],
    "step_seconds": 2,
    "step_max_seconds": 45,
    "min_samples": 100,
    "hold_seconds": BAKE_S,
    # Where latency is not what is wrong: two cores that other tests share are no place to judge it.
    "health_check_criteria": {"latency_slack_ms": 10_000},
}
END_S = 150
"""The longest time from the order to the end, in seconds: a busy machine takes long to start a process."""
CLEAN_S = 60
_AFTER = 50
_VERSIONS: dict[str, int] = {}
"""The newest version of each model, by its first number; for all harnesses of the session's platform."""


class Harness:
    """Tries candidates on one platform.

    Args:
        platform: a running platform.
        manager: talks to it.
    """

    def __init__(self, platform: Any, manager: ProductionMLManager) -> None:
        self._platform = platform
        self._manager = manager
        self._versions = _VERSIONS

    def run(self, candidate: Candidate) -> Outcome:
        """Return what became of the candidate."""
        family, model_id = FAMILIES[candidate.family], f"zoo-{candidate.family}"
        self._restore(candidate.family)
        example = self._example(candidate, family)
        self._versions[model_id] = number = self._versions.get(model_id, 1) + 1
        version = f"{number}.0.0"
        try:
            self._manager.register_model(model_id, "", "", candidate.make(), version, example=example)
        except StreambError as error:
            return Outcome(candidate.name, REFUSED, str(error))
        with self._load(model_id, family) as load:
            load.wait_for(_AFTER)
            return self._deploy(candidate, model_id, version, load)

    def _deploy(self, candidate: Candidate, model_id: str, version: str, load: Load) -> Outcome:
        began = time.monotonic()
        options = {**OPTIONS, **candidate.options}
        try:
            deployment = self._manager.deploy_model(
                model_id=model_id, target_version=version, rollout_strategy="canary", **options
            )
        except StreambError as error:
            end, reason, reached = AT_ORDER, str(error), 0.0
        else:
            try:
                end, reason, reached = self._watch(deployment, model_id)
            finally:
                ended = time.monotonic()
                if not deployment.status().ended:
                    deployment.abort(reason="seen enough")
                    deployment.wait(60)
        seconds = (time.monotonic() if end == AT_ORDER else ended) - began
        left = self._left(model_id, version if end == DONE else STABLE, load)
        return Outcome(
            candidate.name, end, reason, len(load.hurt), len(load.failed), len(load.outcomes),
            round(seconds, 1), reached, left, load.summary(),
        )  # fmt: skip

    def _watch(self, deployment: Deployment, model_id: str) -> tuple[str, str, float]:
        """Wait for its end, and what follows a completion; returns the state, the reason and the highest share."""
        reached = 0.0

        def ended() -> str:
            nonlocal reached
            status = deployment.status()
            reached = max(reached, status.weight)
            if status.state == DONE:
                return DONE if len(self._apps(model_id)) == 1 else ""  # the old one is gone: its bake is over
            return status.state if status.ended or status.state == WAITS else ""

        try:
            end = str(until(ended, END_S, "it ends"))
        except AssertionError:
            status = deployment.status()
            return f"no end: {status.state}, {status.phase}", status.reason, reached
        status = deployment.status()
        said = "; ".join(f"{one.criterion}: {one.detail}" for one in status.findings if one.verdict != "pass")
        return end, f"{status.reason} [{said}]" if said else status.reason, reached

    def _left(self, model_id: str, version: str, load: Load) -> str:
        """Return what is not clean once there was time for it: other apps, too few replicas, other answers."""

        def trouble() -> str:
            apps = self._apps(model_id)
            if len(apps) != 1 or f"--{version}--" not in next(iter(apps)):
                return f"apps {sorted(apps)}"
            if [app.status for app in apps.values()] != ["RUNNING"]:
                return f"apps {apps}"
            shown = self._get(f"/api/models/{model_id}/status")["versions"]
            return "" if [one["version"] for one in shown] == [version] else f"versions {shown}"

        try:
            until(lambda: not trouble(), CLEAN_S)
            load.wait_for(_AFTER)
        except AssertionError:
            return trouble() or "no answers"
        last = {(o.status, o.version) for o in load.outcomes[-_AFTER:]}
        return "" if last == {(200, version)} else f"the last answers: {last}"

    def _restore(self, family_name: str) -> None:
        """Have the family's stable version answer alone, whatever the candidate before has done."""
        model_id, family = f"zoo-{family_name}", FAMILIES[family_name]
        if model_id not in self._versions:
            self._versions[model_id] = 1
            self._manager.register_model(model_id, "", "", family.stable(), STABLE, example=example_of(family))
        elif self._get(f"/api/models/{model_id}/status")["serving_version"] == STABLE:
            return
        deployment = self._manager.deploy_model(model_id=model_id, target_version=STABLE, rollout_strategy="immediate")
        assert deployment.wait(180).state == DONE
        until(lambda: len(self._apps(model_id)) == 1, what="the other version is gone")

    def _example(self, candidate: Candidate, family: Family) -> Any:
        if not candidate.example:
            return None
        example = example_of(family)
        return example if candidate.columns is None else candidate.columns(example)

    def _load(self, model_id: str, family: Family) -> Load:
        return Load(
            self._platform.url,
            model_id,
            rows_of=family.row,
            users=USERS,
            pause_s=family.pause_s,
            connections=family.connections,
        )

    def _apps(self, model_id: str) -> dict[str, Any]:
        from ray import serve

        return {name: app for name, app in serve.status().applications.items() if name.startswith(f"{model_id}--")}

    def _get(self, path: str) -> Any:
        return httpx.get(f"{self._platform.url}{path}", timeout=30).json()
