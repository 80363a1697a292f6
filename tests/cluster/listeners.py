"""Every listener of a platform, as `/proc` knows them, and what a stranger can ask of each: HTTP, gRPC, raw pickles."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import os
import pickle
import pkgutil
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import ray.core.generated
import ray.serve.generated
from ray.serve.generated import serve_pb2

from streamb.security.keys import new_plaintext
from streamb.security.permissions import CONSOLE, GATEWAY, Needed

REVOKED = new_plaintext()
"""A key that was never made here looks like one that was revoked."""
_LISTENS = "0A"
_ACCEPTS = "00010000"
_WAIT_S = 20.0
_MORE_METHODS = {
    "ray.rpc.ObjectManagerService": ("Push", "Pull"),
    "ray.rpc.syncer.RaySyncer": ("StartSync",),
}
"""Services of Ray that have no generated Python."""

_UNPICKLING = ("/ray.serve.", "/ray.rpc.CoreWorkerService/")
"""What loads pickles of those who have the token."""

HARMLESS = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "grpc.channelz.v1.Channelz"}
"""What Ray answers to strangers: that it lives, the names of its services, and which connections there are."""


@dataclass(frozen=True)
class Listener:
    """A socket on which a process of the platform listens.

    Attributes:
        kind: "tcp", "udp" or "unix".
        place: HOST:PORT as this machine reaches it, or the path of the socket.
        holders: the titles of the processes that hold it.
        beyond: whether other machines reach it.
    """

    kind: str
    place: str
    holders: tuple[str, ...]
    beyond: bool

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.place.rpartition(":")
        return host, int(port)

    def __str__(self) -> str:
        return f"{self.kind} {self.place} of {', '.join(self.holders)}"


def family_of(roots: Iterable[int]) -> list[psutil.Process]:
    """The processes and all below them."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(root)
            found |= {one.pid: one for one in (process, *process.children(recursive=True))}
    return list(found.values())


def listeners_of(processes: Iterable[psutil.Process]) -> list[Listener]:
    """Every socket on which one of the processes listens, from `/proc`."""
    holders: dict[str, set[str]] = {}
    for process in processes:
        with contextlib.suppress(OSError, psutil.Error):
            title = " ".join(process.cmdline())[:60].strip()
            for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if match := re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink())):
                        holders.setdefault(match[1], set()).add(title)
    sockets = [*_internet_sockets(), *_unix_sockets()]
    return sorted(
        {
            Listener(kind, place, tuple(sorted(holders[inode])), beyond)
            for kind, place, beyond, inode in sockets
            if inode in holders
        },
        key=str,
    )


def _internet_sockets() -> Iterator[tuple[str, str, bool, str]]:
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if name.startswith("tcp") and state != _LISTENS:
                continue
            raw, port = local.split(":")
            words = [bytes.fromhex(raw[n : n + 8])[::-1] for n in range(0, len(raw), 8)]
            host = socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, b"".join(words))
            host = host.removeprefix("::ffff:")
            reached = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)
            yield name.rstrip("6"), f"{reached}:{int(port, 16)}", not host.startswith(("127.", "::1")), inode


def _unix_sockets() -> Iterator[tuple[str, str, bool, str]]:
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        _, _, _, flags, _, _, inode, *path = line.split(maxsplit=7)
        if flags == _ACCEPTS:
            # HAProxy binds another name and renames the file, so that its address is never missing.
            yield "unix", re.sub(r"\.\d+\.tmp$", "", path[0]) if path else "", False, inode


# --- HTTP -------------------------------------------------------------------------------------------------------------


def ask_http(
    listener: Listener, requests: Iterable[tuple[str, str]], headers: Mapping[str, str], body: bytes = b"{}"
) -> dict[tuple[str, str], int]:
    """The status of each request (method and path); empty where the listener does not speak HTTP."""
    found: dict[tuple[str, str], int] = {}
    for method, path in requests:
        connection = http.client.HTTPConnection(*listener.address, timeout=_WAIT_S)
        try:
            sent = {} if method in ("GET", "HEAD") else {"body": body}
            connection.request(method, path, headers={"Content-Type": "application/json", **headers}, **sent)
            found[method, path] = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            if not found:
                return {}
        finally:
            connection.close()
    return found


# --- gRPC -------------------------------------------------------------------------------------------------------------


def methods_of_ray() -> list[str]:
    """Every method of Ray's and Serve's gRPC services."""
    found = {f"/{service}/{method}" for service, methods in _MORE_METHODS.items() for method in methods}
    for package in (ray.core.generated, ray.serve.generated):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("_pb2_grpc"):
                source = Path(importlib.util.find_spec(module.name).origin).read_text()
                found |= set(re.findall(r"'(/ray[\w.]*/\w+)'", source))
    assert len(found) > 150
    return sorted(found)


def ask_grpc(listener: Listener, marker: Path, token: str | None = None) -> dict[str, grpc.StatusCode]:
    """Call every method with nothing and with pickles; the codes that are no refusal, by method.

    Args:
        marker: a file that is made if a pickle is loaded.
        token: sent as Ray's token; None: none is sent.
    """
    refused = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED}
    told = (("node_id", "0" * 56),)  # without it, Ray's syncer ends itself (Ray 2.60), before it looks at the token
    told += () if token is None else (("authorization", f"Bearer {token}"),)
    found: dict[str, grpc.StatusCode] = {}
    if not speaks_http2(listener):
        return found
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(listener.place, options=options) as channel:
        for method in methods_of_ray():
            unpickles = token is None and method.startswith(_UNPICKLING)
            for request in (b"", *(_with_pickles(marker) if unpickles else ())):
                code = _call(channel, method, request, told)
                if request and code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
                    continue  # the bytes are no such message, which is found out before the token is looked at
                if code not in refused:
                    found[method] = code
        unknown = _services(channel) - {method.split("/")[1] for method in methods_of_ray()} - HARMLESS
        assert not unknown, f"{listener} has services that this test does not know: {unknown}"
    return found


def speaks_http2(listener: Listener) -> bool:
    """Whether it begins as a server of HTTP/2 does, which gRPC speaks."""
    with contextlib.suppress(OSError), _connected(listener) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        connection.settimeout(_WAIT_S)
        return connection.recv(9)[3:4] == b"\x04"  # a frame with its settings
    return False


def _call(channel: grpc.Channel, method: str, request: bytes, told: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    try:
        channel.unary_unary(method)(request, timeout=_WAIT_S, metadata=told)
    except grpc.RpcError as error:
        # A door of ours refuses it as HTTP (4xx), which is no status of gRPC.
        return grpc.StatusCode.PERMISSION_DENIED if re.search(r"status: 4\d\d", error.details() or "") else error.code()
    return grpc.StatusCode.OK


def _services(channel: grpc.Channel) -> set[str]:
    """The services that a server says it has; none if it does not say."""
    listed = b"\x3a\x01*"  # ServerReflectionRequest(list_services="*")
    try:
        answers = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        answer = next(iter(answers(iter([listed]), timeout=_WAIT_S)))
    except (grpc.RpcError, StopIteration):
        return set()
    return {name.decode() for name in re.findall(rb"[A-Za-z][\w.]{7,}", answer)}


# --- pickles ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marker:
    """Makes a file when it is unpickled."""

    path: str

    def __reduce__(self) -> tuple[object, ...]:
        return os.mknod, (self.path,)


def _with_pickles(marker: Path) -> list[bytes]:
    """Requests of Serve between its replicas, which it unpickles from those who have the token."""
    bad = pickle.dumps(Marker(str(marker)))
    asked = serve_pb2.ASGIRequest(pickled_request_metadata=bad, request_args=bad, request_kwargs=bad)
    return [asked.SerializeToString(), bad]


def send_pickles(listener: Listener, marker: Path) -> None:
    """Send pickles as they are, and behind lengths of the usual forms, to whatever listens."""
    bad = pickle.dumps(Marker(str(marker)))
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
    size = len(bad)
    heads = (b"", size.to_bytes(4, "big"), size.to_bytes(8, "little"), size.to_bytes(4, "little"), post % size)
    for head in heads:
        with contextlib.suppress(OSError), _connected(listener) as connection:
            connection.sendall(head + bad)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.5)  # an answer is of no interest
            connection.recv(4096)


def _connected(listener: Listener) -> socket.socket:
    if listener.kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(listener.place)
        except OSError:
            connection.close()
            raise
        return connection
    return socket.create_connection(listener.address, timeout=_WAIT_S)


# --- all of it --------------------------------------------------------------------------------------------------------

OPEN_TO_ALL = {"/healthz", "/v2", "/v2/health/live", "/v2/health/ready", "/api/healthz", "/api/local_raylet_healthz"}
"""What answers without a key or a token: whether a part lives. The last two are of Ray's agent."""
RAYS_PATHS = ("/metrics", "/logs", "/nodes", "/api/jobs/", "/api/job_agent/jobs/", "/api/serve/applications/")


def needed_of_paths() -> dict[tuple[str, str], Needed]:
    """Method and path of every route of both doors, and the permissions of which it needs one."""
    names = {"model_id": "iris", "version": "1.0.0", "alias": "x", "deployment_id": "dep-000000000000"}
    names |= {"key_id": "000000000000", "silence_id": "sil-000000000000", "job_id": "job-000000000000"}
    found = {
        (method, re.sub(r"{(\w+)}", lambda one: names.get(one[1], "none"), path)): needed
        for (method, path), needed in CONSOLE.items()
        if method != "HEAD"
    }
    for path, action in (
        ("", "models"),
        ("/iris", "model"),
        ("/iris/ready", "model_ready"),
        ("/iris/predict", "predict"),
        ("/iris/infer", "infer"),
        ("/iris/feedback", "feedback"),
    ):
        method = "POST" if action in ("predict", "infer", "feedback") else "GET"
        found[method, f"/v2/models{path}"] = GATEWAY[action]
    return found


def assert_closed(listeners: Iterable[Listener], marker: Path, *, tokened: bool = True) -> Counter[str]:
    """Ask every listener everything without a key or a token, and with wrong ones; nothing may be told or done.

    Args:
        listeners: the listeners of a platform that demands keys.
        marker: a file that is made if a pickle is loaded.
        tokened: whether its Ray demands a token; else only what is not Ray's is asked.

    Returns:
        How many of them speak HTTP and gRPC.
    """
    speaking: Counter[str] = Counter()
    others = [("GET", path) for path in (*OPEN_TO_ALL, *RAYS_PATHS)] + [("POST", path) for path in RAYS_PATHS]
    for listener in listeners:
        assert listener.kind != "udp", listener
        http2 = listener.kind == "tcp" and speaks_http2(listener)
        speaking["gRPC"] += http2
        if not tokened and not _of_ours(listener, http2=http2):
            continue
        send_pickles(listener, marker)
        if listener.kind == "unix":
            continue
        for headers in ({}, {"Authorization": f"Bearer {'0' * 64}"}, {"X-API-Key": REVOKED}):
            answers = ask_http(listener, [*needed_of_paths(), *others], headers)
            passed = {path for (_, path), status in answers.items() if status < 400}
            assert passed <= OPEN_TO_ALL, (str(listener), headers, passed)
        speaking["HTTP"] += bool(answers)
        for token in (None, "0" * 64) if http2 else ():
            assert ask_grpc(listener, marker, token) == {}, (str(listener), token)
    assert not marker.exists()
    return speaking


def _of_ours(listener: Listener, *, http2: bool) -> bool:
    """Whether a listener is a door of streamb, or a link between gateway and replica, and none of Ray's."""
    names = " ".join(listener.holders)
    replica = any(name in names for name in ("Gateway", "Console", "ModelVersion"))
    return "haproxy" in names or (replica and not http2)


def joins(address: str, **variables: str) -> bool:
    """Whether a process that has these variables, and no others of Ray, can run a task on the Ray at `address`."""
    program = (
        "import sys, ray; from streamb.cluster.ray_start import listens_here_only, use_loopback; "
        "use_loopback(here=listens_here_only(sys.argv[1])); ray.init(sys.argv[1], log_to_driver=False); "
        "assert ray.get(ray.remote(lambda: 7).remote(), timeout=60) == 7"
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**own, **variables, "RAY_NUM_REDIS_GET_RETRIES": "1"}
    command = [sys.executable, "-c", program, address]
    return subprocess.run(command, env=environment, capture_output=True, timeout=200, check=False).returncode == 0
