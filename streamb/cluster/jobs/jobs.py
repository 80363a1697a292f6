"""Jobs: commands that run beside the platform, listed, followed and stopped from anywhere.

Ray's own job server lives in its dashboard, which is off on one machine; so each job is a detached actor of ours that
runs the command as a process (`job_process`), on the Controller's node, where its log file is. Heavy work spreads from
there through Ray itself: `RAY_ADDRESS` is set, so `ray.init()` in a job joins this cluster, and `ML_STATE_DIR` is set,
so that streamb finds this platform. On a cluster that has the dashboard, Ray's way works with the same entrypoints:

    ray job submit --address http://HEAD:8265 --working-dir . -- python -m tune_jobs.train --csv data.csv …

The intended state is recorded before it is acted on, so that a new Controller can continue: it finds the actors of
running jobs by name, starts what was pending, and reports a job whose actor is gone as failed.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import logging
import secrets
import shlex
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from threading import RLock
from typing import Any, Final
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from streamb.clock import Clock
from streamb.cluster.jobs.process import JobOutcome, JobProcess, JobSpec, JobState, end_orphans
from streamb.cluster.jobs.record import COLLECTION, JOB_LIFECYCLE, ActiveJob, Job, active_of, job_of
from streamb.cluster.names import NAMESPACE
from streamb.control.verbs import LONGEST_JOB_S, JobBoard
from streamb.errors import InvalidInput, NotFound, Overloaded
from streamb.security.isolation import Cage, Isolation, check_isolation, reachable
from streamb.security.keys import KeyRing, read_patterns, read_scopes
from streamb.security.permissions import Permission
from streamb.security.principals import EVERY_MODEL, JOB_NAMES, Kind, PrincipalRecord
from streamb.store import Page, RecordStore, every_record, keep
from streamb.store.state_dir import PLATFORM_FILE

MOST_RUNNING: Final = 4
MOST_PENDING: Final = 100
MOST_KEPT: Final = 200
_STOP_LOOK_S: Final = 1.0
_WEB_PORTS: Final = (80, 443)
_RETRY_AFTER_S: Final = 30
_LONGEST_CHARACTER: Final = 4
"""The most bytes of a character in UTF-8."""
_log = logging.getLogger(__name__)


class JobActor:
    """One job on the cluster. The actor stays until the runner has read how the job ended."""

    def __init__(self, spec: JobSpec) -> None:
        self._process = JobProcess(spec)

    async def outcome(self) -> JobOutcome:
        """Wait for the end of the job; return how it ended."""
        return await asyncio.shield(asyncio.wrap_future(self._process.outcome))

    async def stop(self) -> None:
        """Stop the job; `outcome` returns when that is done."""
        self._process.stop()


class JobRunner(JobBoard):
    """All jobs of one platform. Thread-safe; one runner per record store.

    Args:
        state_dir: the state directory; logs are kept in its folder `jobs/`.
        records: the store; its collection "jobs" contains the jobs' environment variables, so treat it as confidential.
        most_running: the most jobs that run at once; others wait, in order of arrival.
        most_pending: the most jobs that may wait; others are refused.
        most_kept: the most ended jobs that are remembered, with their logs.
        keys: the ring that gives each job a key of its own; None: they get none.
        hidden: files and folders of the platform that isolated jobs must not reach, besides the state directory.
    """

    def __init__(
        self,
        state_dir: Path,
        records: RecordStore,
        clock: Clock,
        *,
        most_running: int = MOST_RUNNING,
        most_pending: int = MOST_PENDING,
        most_kept: int = MOST_KEPT,
        keys: KeyRing | None = None,
        hidden: Sequence[str] = (),
    ) -> None:
        self._state_dir = state_dir.absolute()
        self._folder = self._state_dir / "jobs"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._records = records
        self._clock = clock
        self._most_running, self._most_pending, self._most_kept = most_running, most_pending, most_kept
        self._keys, self._hidden = keys, (str(self._state_dir), *hidden)
        self._lock = RLock()
        self._newest_ms = 0
        self._active: dict[str, ActiveJob] = {}
        self._ended: deque[str] = deque()
        self._by_request: dict[str, str] = {}
        for record in every_record(records, COLLECTION):
            if record.body.get("request"):
                self._by_request[record.body["request"]] = record.key
            if JOB_LIFECYCLE.is_final(JobState(record.body["state"])):
                self._ended.append(record.key)
            else:
                self._active[record.key] = active_of(record)

    def submit(
        self,
        *,
        entrypoint: str,
        working_dir: str | None,
        env: Mapping[str, str],
        name: str,
        isolation: str = Isolation.NONE,
        time_limit_s: float = LONGEST_JOB_S,
        scopes: Sequence[str] = (Permission.JOB,),
        models: Sequence[str] = EVERY_MODEL,
        request: str | None = None,
    ) -> Job:
        """Accept a job; it starts at once or waits for its turn.

        Args:
            entrypoint: the command; `python` is the platform's own interpreter.
            working_dir: an existing folder on the platform's machine; None gives the job an empty one.
            env: variables on top of the platform's own.
            name: the name for people; by default the program.
            isolation: "process": it runs behind a boundary (`security.isolation`); "none": as the platform does.
            time_limit_s: the longest time that it may run, in seconds.
            scopes: what the key of the job allows, names of permissions.
            models: patterns of the models that the key is good for.
            request: an id of this request. Repeating the request with the same id, after a lost answer, returns the job
                that it made, so that the command does not run twice.

        Raises:
            InvalidInput: there is no command, quotes are unbalanced, the folder does not exist or is the platform's, or
                a scope or a pattern of models is not valid.
            IsolationUnavailable: this machine has no boundary for it.
            Overloaded: too many jobs are waiting already.
        """
        command = _split(entrypoint)
        folder = None if working_dir is None else _existing_folder(working_dir)
        read_scopes(scopes)
        read_patterns(models)
        if Isolation(isolation) is Isolation.PROCESS:
            check_isolation()
            if folder is not None and not reachable(str(folder), self._hidden):
                raise InvalidInput(f"an isolated job cannot work in {folder}: it belongs to the platform")
        with self._lock:
            if request is not None and request in self._by_request:
                return self.get(self._by_request[request])
            pending = sum(active.job.state is JobState.PENDING for active in self._active.values())
            if pending >= self._most_pending:
                raise Overloaded(
                    f"{pending} jobs are waiting, which is the limit; stop some or submit later",
                    retry_after_s=_RETRY_AFTER_S,
                )
            now = self._clock.now()
            # Keys sort by time, and no two have the same millisecond.
            self._newest_ms = max(int(now * 1000), self._newest_ms + 1)
            job_id = f"job-{self._newest_ms:012x}-{secrets.token_hex(3)}"
            job = Job(
                job_id,
                name or Path(command[0]).name,
                entrypoint,
                JobState.PENDING,
                submitted_at=now,
                isolation=Isolation(isolation),
                time_limit_s=time_limit_s,
            )
            place = folder or self._folder / job_id
            active = ActiveJob(job, 0, place, dict(env), stop_requested=False, request=request)
            active.scopes, active.models = tuple(scopes), tuple(models)
            with self._records.batch():
                active.revision = self._records.put(COLLECTION, job_id, active.body(), expected=0).revision
                keep(job)
            if request is not None:
                self._by_request[request] = job_id
            self._active[job_id] = active
            self._start_pending()
            return keep(active.job)

    def list(self, limit: int, cursor: str | None) -> Page[Job]:
        """Return a page of jobs, newest first."""
        page = self._records.list(COLLECTION, limit=limit, cursor=cursor, reverse=True)
        return Page(tuple(job_of(record) for record in page.items), page.next_cursor)

    def get(self, job_id: str) -> Job:
        """Return one job.

        Raises:
            NotFound: there is no such job, or it ended so long ago that it was forgotten.
        """
        record = self._records.get(COLLECTION, job_id)
        if record is None:
            raise NotFound(f"there is no job {job_id!r}; `streamb jobs list` shows all jobs")
        return job_of(record)

    def logs(self, job_id: str, offset: int, limit: int) -> tuple[str, int]:
        """Return a piece of a job's output as text, and the offset to continue from; empty while there is no output.

        An incomplete character is left for the next call, unless the job has ended.

        Args:
            offset: the byte to start at.
            limit: the most bytes to read; at least one character is read.
        """
        ended = JOB_LIFECYCLE.is_final(self.get(job_id).state)
        try:
            with self._log_file(job_id).open("rb") as file:
                file.seek(offset)
                content = file.read(max(limit, _LONGEST_CHARACTER))
                at_end = not file.read(1)
        except FileNotFoundError:
            return "", offset
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text = decoder.decode(content, final=ended and at_end)
        return text, offset + len(content) - len(decoder.getstate()[0])

    def stop(self, job_id: str) -> Job:
        """Stop a job: SIGTERM to all its processes, SIGKILL to those left after 10 s.

        A job that has ended stays as it is. Returns the job after about a second at most: still running if it takes
        longer to end.
        """
        with self._lock:
            active = self._active.get(job_id)
            if active is None:
                return self.get(job_id)
            if active.job.state is JobState.PENDING:
                self._finish(
                    active, JobOutcome(JobState.STOPPED, self._clock.now(), reason="stopped before it started")
                )
                return active.job
            if not active.stop_requested:
                self._change(active, active.job, stop_requested=True)
            self._look(active)
            outcome = active.outcome
        if outcome is not None:
            ray.wait([outcome], timeout=_STOP_LOOK_S)
        with self._lock:
            if job_id in self._active:
                self._look(active)
        return self.get(job_id)

    def reconcile(self) -> None:
        """Record jobs that have ended and start waiting ones. Quick: call it about every second."""
        with self._lock:
            for active in list(self._active.values()):
                if active.job.state is JobState.RUNNING:
                    self._look(active)
            self._start_pending()

    # --- under the lock -----------------------------------------------------------------------------------------------

    def _start_pending(self) -> None:
        running = sum(active.job.state is JobState.RUNNING for active in self._active.values())
        pending = [active for active in self._active.values() if active.job.state is JobState.PENDING]
        for active in pending[: max(self._most_running - running, 0)]:
            self._start(active)

    def _start(self, active: ActiveJob) -> None:
        try:
            active.actor = self._start_actor(active)
        except (RayError, OSError, ValueError) as error:
            reason = f"its actor could not be started: {error}"
            self._finish(active, JobOutcome(JobState.FAILED, self._clock.now(), reason=reason))
            return
        self._change(active, replace(active.job, state=JobState.RUNNING, started_at=self._clock.now()))

    def _start_actor(self, active: ActiveJob) -> Any:
        """Return the job's actor; one started before a crash could be recorded is found again by its name."""
        job = active.job
        with contextlib.suppress(ValueError):  # no actor of that name
            return ray.get_actor(_actor_name(job.id), NAMESPACE)
        active.working_dir.mkdir(parents=True, exist_ok=True)
        context = ray.get_runtime_context()
        caged = job.isolation is Isolation.PROCESS
        around = {} if caged else {"RAY_ADDRESS": context.gcs_address, "ML_STATE_DIR": str(self._state_dir)}
        spec = JobSpec(
            id=job.id,
            command=_split(job.entrypoint),
            working_dir=active.working_dir,
            environment={**around, **self._own_key(active), **active.env},
            log_file=self._log_file(job.id),
            time_limit_s=job.time_limit_s,
            cage=self._cage(active) if caged else None,
        )
        here = NodeAffinitySchedulingStrategy(context.get_node_id(), soft=False)
        options = {"name": _actor_name(job.id), "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        actor = ray.remote(JobActor).options(**options, num_cpus=0, max_restarts=0, scheduling_strategy=here)
        return actor.remote(spec)

    def _own_key(self, active: ActiveJob) -> dict[str, str]:
        """Give the job a key of its own, which ends with it; returns the variables that tell the job."""
        if self._keys is None:
            return {}
        job, now = active.job, self._clock.now()
        owner = PrincipalRecord(f"{JOB_NAMES}{job.id}", Kind.JOB, created_at=now)
        self._keys.withdraw(owner.name)  # of a start that a crash has interrupted
        told = {"ML_API_KEY": self._keys.issue(owner, active.scopes, active.models, now + job.time_limit_s)}
        url = _address(self._state_dir)
        return {**told, "ML_URL": url} if url and job.isolation is Isolation.PROCESS else told

    def _cage(self, active: ActiveJob) -> Cage:
        """What an isolated job has: its own folder, and the way to the platform and to the web."""
        url = urlsplit(_address(self._state_dir) or "")
        ports = {*_WEB_PORTS, *([url.port] if url.port else ())}
        if active.working_dir == self._folder / active.job.id:
            return Cage(hidden=self._hidden, tcp=tuple(sorted(ports)))
        folder = str(active.working_dir)
        return Cage(around=(folder,), hidden=self._hidden, tcp=tuple(sorted(ports)), folder=folder)

    def _look(self, active: ActiveJob) -> None:
        """Record the outcome of a running job, if it has ended."""
        try:
            if active.actor is None:  # it was started before this runner
                active.actor = ray.get_actor(_actor_name(active.job.id), NAMESPACE)
            if active.outcome is None:
                active.outcome = active.actor.outcome.remote()
            if active.stop_requested and not active.stop_sent:
                active.actor.stop.remote()
                active.stop_sent = True
            ready, _ = ray.wait([active.outcome], timeout=0)
            if not ready:
                return
            outcome: JobOutcome = ray.get(active.outcome)
        except (RayError, ValueError) as error:  # ValueError: no actor of that name
            outcome = self._lost(active, error)
        self._finish(active, outcome)

    def _lost(self, active: ActiveJob, error: Exception) -> JobOutcome:
        orphans = end_orphans(active.job.id)
        _log.warning("the actor of %s is gone, %d of its processes were ended: %s", active.job.id, orphans, error)
        reason = "the process that ran it died, or the platform was restarted meanwhile; submit it again"
        return JobOutcome(JobState.FAILED, self._clock.now(), reason=reason)

    def _finish(self, active: ActiveJob, outcome: JobOutcome) -> None:
        self._change(active, replace(active.job, **asdict(outcome)))
        if self._keys is not None:
            self._keys.withdraw(f"{JOB_NAMES}{active.job.id}")
        del self._active[active.job.id]
        self._ended.append(active.job.id)
        if active.actor is not None:
            ray.kill(active.actor)
        while len(self._ended) > self._most_kept:
            self._forget(self._ended.popleft())

    def _change(self, active: ActiveJob, job: Job, *, stop_requested: bool | None = None) -> None:
        """Record a change of a job; memory is updated only once it is written."""
        if job.state is not active.job.state:
            JOB_LIFECYCLE.check(active.job.state, job.state)
        wanted = active.stop_requested if stop_requested is None else stop_requested
        body = {**active.body(), **asdict(job), "stop_requested": wanted}
        active.revision = self._records.put(COLLECTION, job.id, body, expected=active.revision).revision
        active.job, active.stop_requested = job, wanted

    def _forget(self, job_id: str) -> None:
        self._records.delete(COLLECTION, job_id)
        self._by_request = {request: job for request, job in self._by_request.items() if job != job_id}
        self._log_file(job_id).unlink(missing_ok=True)
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def _log_file(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.log"


def _address(state_dir: Path) -> str | None:
    """The address of the platform, as its file in the state directory has it; None if there is none."""
    try:
        told = json.loads((state_dir / PLATFORM_FILE).read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(told)


def _actor_name(job_id: str) -> str:
    return f"streamb-{job_id}"


def _split(entrypoint: str) -> tuple[str, ...]:
    try:
        command = tuple(shlex.split(entrypoint))
    except ValueError as error:
        raise InvalidInput(f"the entrypoint cannot be split into words ({error}): {entrypoint!r}") from error
    if not command or "\0" in entrypoint:
        raise InvalidInput("the entrypoint must be a command, as `python -m tune_jobs.train --csv data.csv …`")
    return command


def _existing_folder(working_dir: str) -> Path:
    folder = Path(working_dir).expanduser()
    if not folder.is_absolute() or not folder.is_dir():
        raise InvalidInput(f"working_dir must be the full path of a folder on the platform's machine: {working_dir!r}")
    return folder
