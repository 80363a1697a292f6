"""The control side and the Monitor in this process: the real verbs over a database in memory; only what runs models is
pretended.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from streamb.clock import ManualClock
from streamb.config import Settings, load_settings
from streamb.control.observations import NodeReport, Observations
from streamb.control.platform import Platform, gateway_policy, most_unjudged
from streamb.control.verbs import Control, JobBoard
from streamb.crypto import SigningKey
from streamb.errors import NotFound, StreambError
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.opening import open_monitor
from streamb.registry import ArtifactStore, Registry
from streamb.rollouts.controller import Rollouts
from streamb.rollouts.runtime import AppPhase, AppSpec, AppStatus
from streamb.security.directory import Directory
from streamb.security.keys import KeyRing
from streamb.security.permissions import Role
from streamb.store import Idempotency, Page, open_blobs
from streamb.traffic import GatewayPolicy
from streamb.trials.process import TrialProcesses
from tests.store.memory import memory_database


class InstantRuntime:
    """Apps run as soon as they are started; gateways always have the newest table."""

    def __init__(self) -> None:
        self.specs: dict[str, AppSpec] = {}
        self.replicas: dict[str, int] = {}
        self.failing: str = ""

    def start(self, spec: AppSpec) -> None:
        self.specs[spec.app] = spec

    def stop(self, app: str) -> None:
        self.specs.pop(app, None)

    def apps(self) -> Mapping[str, AppStatus]:
        phase = AppPhase.FAILED if self.failing else AppPhase.RUNNING
        return {
            app: AppStatus(phase, 0 if self.failing else self.replicas.get(app, 1), self.failing) for app in self.specs
        }

    def scale(self, app: str, replicas: int) -> None:
        self.replicas[app] = replicas

    def acknowledged(self, epoch: int) -> bool:
        return True

    def in_flight(self, app: str) -> int:
        return 0


@dataclass(frozen=True)
class FakeJob:
    id: str
    name: str
    entrypoint: str
    state: str = "pending"
    exit_code: int | None = None
    submitted_at: float | None = 1.0
    started_at: float | None = None
    finished_at: float | None = None
    reason: str = ""


@dataclass
class FakeJobs(JobBoard):
    """Jobs that run nothing; the test says how they go.

    Attributes:
        ending: how a job ends as soon as it is submitted, as `end` takes it; empty: it stays pending.
    """

    jobs: dict[str, FakeJob] = field(default_factory=dict)
    output: dict[str, str] = field(default_factory=dict)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    ending: dict[str, Any] = field(default_factory=dict)

    def submit(
        self,
        *,
        entrypoint: str,
        working_dir: str | None,
        env: Mapping[str, str],
        name: str,
        request: str | None = None,
        **how: Any,
    ) -> FakeJob:
        told = {"entrypoint": entrypoint, "working_dir": working_dir, "env": dict(env), "name": name}
        self.submitted.append({**told, **how})
        self.requests.append(request)
        job = FakeJob(f"job-{len(self.jobs) + 1}", name, entrypoint)
        self.jobs[job.id] = job
        self.output[job.id] = ""
        return self.end(job.id, **self.ending) if self.ending else job

    def list(self, limit: int, cursor: str | None) -> Page[Any]:
        return Page(tuple(reversed(self.jobs.values()))[:limit], None)

    def get(self, job_id: str) -> FakeJob:
        if job_id not in self.jobs:
            raise NotFound(f"no job {job_id}")
        return self.jobs[job_id]

    def logs(self, job_id: str, offset: int, limit: int) -> tuple[str, int]:
        self.get(job_id)
        text = self.output[job_id][offset : offset + limit]
        return text, offset + len(text)

    def stop(self, job_id: str) -> FakeJob:
        return self.end(job_id, "stopped")

    def end(self, job_id: str, state: str, output: str = "", exit_code: int | None = None) -> FakeJob:
        self.jobs[job_id] = replace(self.get(job_id), state=state, exit_code=exit_code)
        self.output[job_id] += output
        return self.jobs[job_id]


class InProcess:
    """Everything a Console needs, without Ray and without a second process.

    Attributes:
        failure: raised by every verb while it is set; `monitor_failure` by those of the Monitor.
        trials: whether uploaded versions are tried, in processes of their own.
        stuck: verbs never answer while it is true.
        asked: the verbs that were called, by their qualified names.
    """

    def __init__(self, state_dir: Path, *, trials: bool = False, **settings: Any) -> None:
        self.settings: Settings = load_settings(state_dir=state_dir, **settings)
        self.clock = ManualClock(start=1_700_000_000.0)
        self.runtime = InstantRuntime()
        self.jobs = FakeJobs()
        self.observations = Observations(self.clock)
        self.failure: StreambError | None = None
        self.stuck = False
        self.asked: list[str] = []
        database = memory_database(self.clock)
        self.blobs = open_blobs(f"file://{state_dir / 'artifacts'}")
        registry = Registry(database.records, database.journal, self.clock, blobs=self.blobs)
        directory = Directory(database.records, self.clock)
        keys = KeyRing(database.records, self.clock, directory)
        self.api_key = self._key(directory, keys, "operator", Role.ADMIN)
        self.guest_key = self._key(directory, keys, "guest", Role.OPERATOR)
        self.rollouts = Rollouts(
            database.records,
            database.journal,
            registry,
            self.runtime,
            self.clock,
            outcomes=self.observations.windows,
            four_eyes=self.settings.four_eyes,
            most_unjudged=most_unjudged(self.settings),
            policy=GatewayPolicy(keys=gateway_policy(self.settings, keys, b"").keys),
            on_order=self._progress,
        )
        self.platform = Platform(
            self.settings,
            self.clock,
            database,
            registry,
            self.rollouts,
            directory,
            keys,
            Idempotency(database.records, self.clock),
        )
        self.verbs = Control(self.platform, self.runtime, self.observations, self.jobs)
        signing = SigningKey.load_or_create(state_dir / "keys" / "signing.pem")
        self.artifacts = ArtifactStore(
            self.blobs,
            signing=signing,
            trusted=(signing.public,),
            scratch=state_dir / "scratch",
            max_bytes=self.settings.max_artifact_bytes,
            trier=TrialProcesses((signing.public,), timeout_s=60) if trials else None,
        )
        self.monitor_failure: StreambError | None = None
        self._core: MonitorCore | None = None
        self.report()

    @staticmethod
    def _key(directory: Directory, keys: KeyRing, name: str, *roles: Role) -> str:
        directory.create(name, "service", roles)
        return keys.create(name)[0]

    @property
    def core(self) -> MonitorCore:
        """The Monitor itself; opened when something first asks for it."""
        if self._core is None:
            self._core = open_monitor(self.settings, self.clock)
        return self._core

    def close(self) -> None:
        """Let go of the Monitor's files."""
        if self._core is not None:
            self._core.close()
            self._core = None

    def report(self) -> None:
        """Every part says that it lives."""
        for role in ("gateway", "console", "edge"):
            self.observations.receive(NodeReport(role, f"{role}-1", "node", 1))

    async def control(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The transport to the control side; carries calls and answers pickled, as Ray does."""
        self.asked.append(name)
        if self.stuck:
            await asyncio.sleep(3600)
        if self.failure is not None:
            raise self.failure
        return _carried(self.verbs.verbs.run(*_carried((name, args, dict(kwargs)))))

    async def monitor(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The transport to the Monitor."""
        if self.monitor_failure is not None:
            raise self.monitor_failure
        # In a thread, as in the Monitor: what one of its verbs does may wait for a disk.
        return _carried(await asyncio.to_thread(self.core.verbs.run, *_carried((name, args, dict(kwargs)))))

    def _progress(self) -> None:
        # As the Controller's loop would: until nothing changes any more.
        asyncio.get_running_loop().call_soon(self._tick_until_calm)

    def _tick_until_calm(self) -> None:
        while self.rollouts.tick():
            pass


def _carried(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))
