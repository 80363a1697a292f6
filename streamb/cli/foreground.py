"""The life of a platform in this process: start, announce, wait for a signal, stop; and the state file in between."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from streamb.cli.output import Waiting, say
from streamb.clock import SystemClock
from streamb.config import Settings
from streamb.errors import NotRunning
from streamb.sdk.discovery import RunningInfo, write_platform_file
from streamb.sdk.manager import ProductionMLManager
from streamb.sdk.sample import SAMPLE_ID, deploy_sample
from streamb.sdk.up_lock import UpLock
from streamb.store.state_dir import PLATFORM_FILE
from streamb.version import installed_version

if TYPE_CHECKING:
    from streamb.cluster import RunningPlatform

Announce = Callable[[RunningInfo, str, float], None]
Accept = Callable[[str], bool]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_S: Final = 0.5


def run_platform(
    settings: Settings, *, sample: bool | None, parent_pipe: bool, announce: Announce, accept: Accept
) -> None:
    """Run a platform until a signal, or the end of the parent process, asks it to stop.

    Args:
        sample: whether to deploy the sample model; None deploys it in development if no model is registered.
        parent_pipe: whether standard input is a pipe from the parent, which closes when the parent ends.
        announce: called once the platform answers, with what runs, the operator's key, and the seconds it took.
        accept: called if the platform does not fit on the machine, with the reason; True goes on all the same.

    Raises:
        AlreadyRunning: another platform uses the state directory.
        StartFailed: a part did not start; what this start has made is ended, and what ran before goes on.
        StorageFailed: the database or the artifact store cannot be used; nothing was started.
        DoesNotFit: the machine has not enough memory or CPUs; nothing was started.
        NotRunning: the platform ended on its own.
    """
    with UpLock(settings.state_dir), StopRequests() as requests:
        if parent_pipe:
            requests.follow_parent()
        platform = _start(settings, sample, requests, announce, accept)
        try:
            requests.wait(lambda: platform.alive)
        finally:
            requests.stopping = True
            _stop(settings, platform.stop)


def _start(
    settings: Settings, sample: bool | None, requests: StopRequests, announce: Announce, accept: Accept
) -> RunningPlatform:
    """Start the platform and announce it; until that is done, a failure ends only what this start has made."""
    # Imported late: Ray takes its time, and a refusal before this should not have to wait for it.
    from streamb.cluster import start_platform

    with Waiting() as waiting:

        def asked(why: str) -> bool:
            waiting.hush()
            return accept(why)

        def told(what: str) -> None:
            requests.listen()  # again: Ray puts handlers of its own in place
            waiting.for_(what)

        platform = start_platform(settings, told, asked)
        try:
            requests.listen()
            info = RunningInfo(
                url=platform.url,
                pid=os.getpid(),
                started_at=SystemClock().now(),
                version=installed_version(),
                ray_address=platform.ray_address,
                unanswered=platform.unanswered,
                notes=platform.notes,
                needs=platform.needs,
            )
            with ProductionMLManager(settings.environment, address=info.url, api_key=platform.api_key) as manager:
                _deploy_sample(manager, settings, sample, waiting)
            write_platform_file(settings.state_dir, info)
            requests.started()
            waiting.hush()
            announce(info, platform.api_key, waiting.elapsed_s)
        except BaseException:
            requests.stopping = True
            (settings.state_dir / PLATFORM_FILE).unlink(missing_ok=True)
            platform.give_up()
            raise
        return platform


def _deploy_sample(manager: ProductionMLManager, settings: Settings, sample: bool | None, waiting: Waiting) -> None:
    if sample is False or (sample is None and settings.environment != "development"):
        return
    known = {model.model_id for model in manager.list_models()}
    if SAMPLE_ID not in known and (sample or not known):
        waiting.for_("the sample model")
        deploy_sample(manager)


def _stop(settings: Settings, stop: Callable[[], None]) -> None:
    with Waiting() as waiting:
        waiting.for_("everything to stop")
        (settings.state_dir / PLATFORM_FILE).unlink(missing_ok=True)
        stop()
    say("stopped")


class StopRequests:
    """Combines signals and the end of the parent process into one request to stop.

    While the platform starts, the first signal interrupts the start. Later it ends the waiting. While the platform
    stops, signals change nothing: half a stop would leave processes behind.

    Attributes:
        stopping: set once the stop has begun.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._starting = True
        self._asked = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        self._before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
        self.listen()
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Install the signal handlers."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def follow_parent(self) -> None:
        """Request a stop when the parent process ends or closes the pipe on standard input."""
        threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()

    def started(self) -> None:
        """Say that the start is over: from now on a signal only ends `wait`."""
        self._starting = False

    def wait(self, alive: Callable[[], bool]) -> None:
        """Wait until a stop is requested.

        Raises:
            NotRunning: `alive` returned False: the platform has ended.
        """
        while not self._asked.wait(_LOOK_S):  # in pieces, so that a signal's handler gets its turn
            if not alive():
                raise NotRunning(
                    "Ray has stopped while the platform was running; start the platform again with `streamb up`"
                )

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopping:
            say("still stopping; please wait")
            return
        self._asked.set()
        if self._starting:
            self.stopping = True
            raise KeyboardInterrupt

    def _watch_parent(self) -> None:
        parent, pipe = os.getppid(), sys.stdin.fileno()
        while os.getppid() == parent:
            readable, _, _ = select.select([pipe], [], [], _LOOK_S)
            if readable and not os.read(pipe, 1024):
                break
        os.kill(os.getpid(), signal.SIGINT)
