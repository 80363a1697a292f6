"""`Predictor` over direct links: Serve lists the replicas of a version, and batches go directly to them.

A call through a Serve handle costs each side some 2.5 ms of CPU on a slow core, a link a tenth of that (docs/log.md).
The handle is still used for `broadcast`, which asks every running replica where its link listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ray import serve
from ray.exceptions import RayError

from streamb.clock import Clock, SystemClock
from streamb.cluster.background import begin
from streamb.cluster.names import LINK, MODEL_VERSION
from streamb.errors import StreambError, Unavailable
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.link import Link, LinkAddress
from streamb.traffic import VersionTarget

LOOK_S: Final = 2.0
"""Seconds between searches for replicas while there are some; a lost link is noticed at once."""

AT_REST_S: Final = 10.0
"""The same for an app that got no request since the last search: no load adds replicas to it."""

HURRY_S: Final = 0.25
"""Seconds between searches while there is none."""

GONE_S: Final = 1.5
"""So long (seconds) requests wait for another replica after the last one of a version went away."""

_ASK_TIMEOUT_S: Final = 5.0
_FAILED_RETRY_S: Final = 5.0
"""Seconds after which clients should try an app again that has failed: it is then started again."""

_log = logging.getLogger(__name__)


class LinkPredictor:
    """Calls the replicas of model versions; belongs to one event loop.

    Args:
        secret_of: returns the secret of the links to a replica, by its name.
        clock: the source of time.
    """

    def __init__(self, secret_of: Callable[[str], bytes], clock: Clock | None = None) -> None:
        self._secret_of = secret_of
        self._clock = clock or SystemClock()
        self._apps: dict[str, _AppLinks] = {}
        self._failed: dict[str, str] = {}

    def connect(self, apps: Iterable[str]) -> frozenset[str]:
        """Start searching for the replicas of apps; return the apps of which none is connected yet."""
        unconnected = set()
        for app in apps:
            if app not in self._apps:
                self._apps[app] = _AppLinks(app, self._secret_of, self._clock)
                self._apps[app].start()
            if not self._apps[app].connected_once:
                unconnected.add(app)
        return frozenset(unconnected)

    async def connected(self, apps: Iterable[str], timeout_s: float = 5.0) -> None:
        """Wait, at most `timeout_s` seconds, until each of these apps has a connected replica for its first request."""
        waits = [asyncio.ensure_future(self._apps[app].found.wait()) for app in apps if app in self._apps]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout_s)
            for wait in late:
                wait.cancel()

    def forget(self, apps: Iterable[str]) -> None:
        """Close the links of apps that the routing table no longer names."""
        for app in apps:
            links = self._apps.pop(app, None)
            if links is not None:
                links.close()

    def close(self) -> None:
        """Close all links."""
        self.forget(list(self._apps))

    @property
    def apps(self) -> frozenset[str]:
        """The apps whose replicas are searched for."""
        return frozenset(self._apps)

    def replicas(self, target: VersionTarget) -> int:
        """Return how many replicas of a version can be called now."""
        links = self._apps.get(target.app)
        return links.usable if links is not None else 0

    def links(self) -> dict[str, int]:
        """Return how many replicas of each app can be called now."""
        return {app: links.usable for app, links in self._apps.items()}

    def hear_failed(self, reasons: Mapping[str, str]) -> None:
        """Refuse calls to apps that have failed, and those that wait for one of their replicas, at once.

        Args:
            reasons: why, by app. Apps that are not named any more are waited for again.
        """
        self._failed = dict(reasons)
        for app in self._failed.keys() & self._apps.keys():
            self._apps[app].found.set()  # those who wait look again

    def begin(self, target: VersionTarget, batch: Batch) -> asyncio.Future[BatchReply] | None:
        """Send a batch to a replica at once; None if that is not possible, so that `predict` must do it.

        Cancelling the future cancels the call.
        """
        links = self._apps.get(target.app)
        link = links.best() if links is not None else None
        try:
            return link.call(batch) if link is not None else None
        except StreambError:
            return None

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:
        """Answer one batch (see `serving.batch.Predictor`).

        Waits for the first replica of a version as long as the caller does, and for another one after the last one
        went away until `GONE_S` later.
        """
        links = self._apps.get(target.app)
        if links is None:
            raise Unavailable(f"version {target.version} is not connected yet; try again", retry_after_s=1)
        while (link := links.best()) is None:
            if reason := self._failed.get(target.app):
                raise Unavailable(f"version {target.version} does not run: {reason}", retry_after_s=_FAILED_RETRY_S)
            if not await links.wait():
                why = links.trouble or "the last one has ended"
                raise Unavailable(f"no replica of version {target.version} answers at present: {why}", retry_after_s=1)
        return await link.call(batch)


class _AppLinks:
    """The links to the replicas of one app.

    Attributes:
        connected_once: whether there has been one.
        trouble: what the replica that went away last was in trouble with, in its own words; "" if it just ended.
    """

    def __init__(self, app: str, secret_of: Callable[[str], bytes], clock: Clock) -> None:
        self.app = app
        self._secret_of = secret_of
        self._clock = clock
        self._gone_at: float | None = None
        self.connected_once = False
        self.trouble = ""
        self.found = asyncio.Event()
        self._handle: Any = None
        self._links: dict[str, Link] = {}
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._asked = True

    @property
    def usable(self) -> int:
        return sum(link.usable for link in self._links.values())

    def start(self) -> None:
        """Start searching for replicas."""
        self._task = begin(self._keep_looking(), f"the replicas of {self.app} are not searched for any more")

    def close(self) -> None:
        """Stop searching, and close the links to every replica."""
        if self._task is not None:
            self._task.cancel()
        links, self._links = self._links, {}
        for link in links.values():
            link.close()

    def best(self) -> Link | None:
        """Return the link whose replica has the least work; None if there is none.

        An abandoned call still counts, so that a hanging replica does not seem idle.
        """
        self._asked = True
        usable = [link for link in self._links.values() if link.usable]
        return min(usable, key=lambda link: link.load) if usable else None

    async def wait(self) -> bool:
        """Search for replicas, and return True when one may have been found; False if the last one is gone too long."""
        self.found.clear()
        self._look.set()
        if not self.connected_once:
            await self.found.wait()
            return True
        now = self._clock.monotonic()
        if self._gone_at is None:
            self._gone_at = now
        try:
            async with asyncio.timeout(self._gone_at + GONE_S - now):
                await self.found.wait()
        except TimeoutError:
            return False
        return True

    async def _keep_looking(self) -> None:
        while True:
            self._look.clear()  # before searching: a link lost meanwhile must start another search
            try:
                await self._look_once()
            except (RayError, TimeoutError, RuntimeError) as error:
                _log.debug("asking for the replicas of %s failed: %s", self.app, error)
            except Exception:
                _log.exception("asking for the replicas of %s failed", self.app)
            with contextlib.suppress(TimeoutError):
                # A lost link starts a search at once, but never more often than every `HURRY_S`.
                await asyncio.sleep(HURRY_S)
                if self.usable:
                    pause_s, self._asked = LOOK_S if self._asked else AT_REST_S, False
                    await asyncio.wait_for(self._look.wait(), pause_s)

    async def _look_once(self) -> None:
        if self._handle is None:  # made here, so that an error of Serve while it restarts does not end the search
            self._handle = serve.get_deployment_handle(MODEL_VERSION, self.app, _check_exists=False)
        asked = self._handle.broadcast(LINK).results_async(return_exceptions=True)
        answers = await asyncio.wait_for(asked, _ASK_TIMEOUT_S)
        for address in answers:
            if isinstance(address, LinkAddress) and address.replica not in self._links:
                await self._connect(address)

    async def _connect(self, address: LinkAddress) -> None:
        try:
            link = await Link.connect(address, self._secret_of(address.replica), on_lost=self._lost)
        except StreambError as error:
            _log.warning("a replica of %s cannot be reached at %s:%s: %s", self.app, address.host, address.port, error)
            return
        self._links[address.replica] = link
        self.connected_once = True
        self._gone_at, self.trouble = None, ""
        self.found.set()

    def _lost(self, link: Link) -> None:
        if self._links.get(link.address.replica) is link:
            del self._links[link.address.replica]
        self.trouble = link.trouble
        if not self.usable and self._gone_at is None:
            self._gone_at = self._clock.monotonic()
        self._look.set()
