"""The doors and the secrets of a running platform: no listener lets a stranger in, no actor tells a secret, no log
contains one, and another Unix user finds none.
"""

from __future__ import annotations

import base64
import contextlib
import inspect
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from streamb.clock import SystemClock
from streamb.cluster.jobs.jobs import JobActor
from streamb.cluster.node_collector import NodeCollectorActor
from streamb.control.platform import token_key
from streamb.sdk.discovery import read_platform_file
from streamb.sdk.http import HttpClient
from streamb.security.permissions import ROLES, Permission
from streamb.security.platform_key import PlatformKey
from streamb.store import open_database
from tests.cluster.asking_all import CALLS, verbs
from tests.cluster.listeners import (
    REVOKED,
    ask_http,
    assert_closed,
    family_of,
    joins,
    listeners_of,
    needed_of_paths,
)
from tests.cluster.processes import until

HOOK_SECRET = "whsec_" + base64.b64encode(b"the secret of the webhook").decode()
JOB_SECRET = "the-secret-of-a-job"


@pytest.mark.parametrize("cls", CALLS, ids=lambda cls: cls.__name__)
def test_every_public_method_is_asked(cls):
    inner = cls.__ray_actor_class__ if hasattr(cls, "__ray_actor_class__") else cls
    public = {name for one in inner.__mro__ for name, member in vars(one).items() if inspect.isfunction(member)}
    assert {name for name in public if not name.startswith("_")} == set(CALLS[cls])


@dataclass
class Running:
    """A platform that was started in the background by a process without a umask."""

    state_dir: Path
    facts: dict[str, str]
    ray_folder: Path
    ray_address: str

    @property
    def processes(self) -> list[psutil.Process]:
        """All its processes."""
        return family_of([int(self.facts["pid"])])


@pytest.fixture(
    scope="module",
    params=[pytest.param(0, id="umask 000"), pytest.param(0o022, id="umask 022", marks=pytest.mark.soak)],
)
def running(request):
    place = Path(tempfile.mkdtemp(prefix="doors-"))
    state_dir = place / "state"
    state_dir.mkdir(mode=0o777)
    variables = {
        "ML_ENABLE_AUTHORIZATION": "true",
        "ML_ALERT_CHANNELS": "webhook",
        "ML_ALERT_WEBHOOK_URL": "https://alerts.example.com/hook",
    }
    # The token of a Ray that this process started is none of the new platform's.
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    environment = {**own, **variables, "ML_ALERT_WEBHOOK_SECRET": HOOK_SECRET, "ML_STATE_DIR": str(state_dir)}
    streamb = [sys.executable, "-m", "streamb"]
    up = subprocess.run(
        [*streamb, "up", "--detach", "--port", "0", "--sample", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        umask=request.param,
        check=False,
    )
    try:
        assert up.returncode == 0, up.stderr
        info = read_platform_file(state_dir)
        folder = Path((state_dir / "ray-folder").read_text())
        yield Running(state_dir, json.loads(up.stdout), folder, info.ray_address)
    finally:
        subprocess.run([*streamb, "down"], env=environment, capture_output=True, timeout=200, check=False)
        for one in psutil.process_iter(["cmdline"]):
            if str(place) in " ".join(one.info["cmdline"] or []):
                one.kill()
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def job(running):
    with HttpClient(running.facts["url"], running.facts["api_key"]) as client:
        body = {"entrypoint": "sleep 1000", "env": {"OWN_SECRET": JOB_SECRET}, "name": "sleeps"}
        job_id = client.change("POST", "/api/jobs", body)["id"]
        until(lambda: client.get(f"/api/jobs/{job_id}")["state"] == "running", 120, "the job runs")
        yield job_id


def secrets_of(running: Running) -> dict[str, bytes]:
    state_dir = running.state_dir
    database = open_database(f"sqlite:///{state_dir}/streamb.db", SystemClock())
    try:
        found = {
            "operator's key": running.facts["api_key"].encode(),
            "platform key": (state_dir / "keys" / "platform.key").read_bytes(),
            "signing key": (state_dir / "keys" / "signing.pem").read_bytes().splitlines()[1],
            "key of tokens": token_key(database.records),
            "webhook": HOOK_SECRET.encode(),
            "job": JOB_SECRET.encode(),
        }
    finally:
        database.close()
    return found | {"Ray's token": (state_dir / "keys" / "ray-token").read_bytes()}


def forms_of(secret: bytes) -> tuple[bytes, bytes, bytes]:
    """A secret as it is, in hexadecimal digits, and in base64."""
    return secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")[:-1]


def told_in(content: bytes, secrets: dict[str, bytes]) -> set[str]:
    """The secrets that the content holds."""
    return {name for name, secret in secrets.items() if any(form in content for form in forms_of(secret))}


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_no_file_with_a_secret_is_open_and_no_log_contains_one(running, job):
    secrets = secrets_of(running)
    assert stat.S_IMODE(running.state_dir.stat().st_mode) == stat.S_IMODE(running.ray_folder.stat().st_mode) == 0o700
    holding = set()
    for path in [*running.state_dir.rglob("*"), *running.ray_folder.rglob("*")]:
        if not path.is_file() or path.is_symlink():
            continue
        if told := told_in(path.read_bytes(), secrets):
            holding.add(path.name)
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, (path, told)
            assert "logs" not in path.parts, (path, told)
            assert path.suffix not in {".log", ".out", ".err"}, (path, told)
    assert {"api-key", "platform.key", "signing.pem"} <= holding, "the search finds what it looks for"


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_no_listener_lets_a_stranger_in(running, tmp_path):
    """Whatever listens is taken from /proc, so that a new listener is asked as well."""
    listeners = listeners_of(running.processes)
    assert len(listeners) > 15, listeners
    # From other machines: only what Serve lets replicas call each other by, which demands the token as well.
    here_only = ("gcs_server", "raylet", "Agent", "haproxy", "-m streamb", "ControllerActor", "MonitorActor")
    beyond = [str(one) for one in listeners if one.beyond]
    assert not [one for one in beyond if any(name in one for name in here_only)], beyond
    speaking = assert_closed(listeners, tmp_path / "unpickled")
    # The search finds what it looks for: the edge, a gateway, a Console, an agent of Ray; and Ray with its workers.
    assert speaking["HTTP"] >= 4 <= speaking["gRPC"] - 4, (speaking, listeners)


@dataclass(frozen=True)
class Holder:
    """Who holds a key: what the key allows, and whether it is good for the model that is asked about."""

    key: str
    permissions: frozenset[Permission]
    this_model: bool = True


@pytest.fixture(scope="module")
def holders(running):
    """A key of each role, of each role for another model only, and one that was revoked."""
    found = {"nobody": Holder("", frozenset()), "invented": Holder(REVOKED, frozenset())}
    with HttpClient(running.facts["url"], running.facts["api_key"]) as client:
        for role, permissions in ROLES.items():
            client.change("POST", "/api/principals", {"name": f"{role}s", "kind": "person", "roles": [role]})
            for name, models in ((f"{role}", ["*"]), (f"{role} of others", ["other-*"])):
                made = client.change("POST", "/api/keys", {"principal": f"{role}s", "models": models})
                found[name] = Holder(made["key"], permissions, models == ["*"])
        made = client.change("POST", "/api/keys", {"principal": "admins"})
        client.change("DELETE", f"/api/keys/{made['id']}")
        found["revoked"] = Holder(made["key"], frozenset())
    door = ("GET", "/api/models")

    def known() -> bool:
        told = [one for one in listeners_of(running.processes) if one.kind == "tcp"]
        headers = [{"X-API-Key": found[name].key} for name in ("revoked", "admin of others")]
        both = [[ask_http(one, [door, ("GET", "/v2/models")], each) for each in headers] for one in told]
        return not any(set(left.values()) & {200} for left, _ in both) and sum(200 in r.values() for _, r in both) >= 3

    until(known, 30, "every door knows the new keys")
    return found


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_each_key_opens_what_its_role_allows_at_every_door(running, holders):
    """Changes are tried where they must be refused; what a role may do is asked with requests that change nothing."""
    opened: Counter[str] = Counter()
    doors = [one for one in listeners_of(running.processes) if one.kind == "tcp" and ask_http(one, [("GET", "/")], {})]
    for listener in doors:
        if not any(name in str(listener) for name in ("haproxy", "Gateway", "Console")):
            continue  # Ray's agents know no keys: they demand the token
        for name, holder in holders.items():
            for (method, path), needed in needed_of_paths().items():
                other = not holder.this_model and "/iris" in path
                may = not needed or (bool(holder.permissions & set(needed)) and not other)
                if may and method != "GET" and path.startswith("/api/"):
                    continue
                headers = {"X-API-Key": holder.key} if holder.key else {}
                status = ask_http(listener, [(method, path)], headers)[method, path]
                told = f"{name}: {method} {path} at {listener}: {status}"
                if may and not holder.this_model:  # what is about all models is refused to a key for some
                    assert status != 401, told
                else:
                    assert status not in (401, 403) if may else status in (401, 403, 404), told
                opened[name] += may and status < 400
    assert opened["nobody"] == opened["revoked"] == opened["invented"] < opened["viewer"] < opened["admin"], opened
    assert opened["admin of others"] < opened["admin"]
    assert opened["viewer"] > 20


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_ray_is_joined_only_with_its_token(running):
    token = str(running.state_dir / "keys" / "ray-token")
    tries = (
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token},
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
    )
    with ThreadPoolExecutor() as threads:
        joined = threads.map(lambda variables: joins(running.ray_address, **variables), tries)
        assert list(joined) == [True, False, False]


@pytest.mark.ray
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.timeout(900)
def test_another_unix_user_reads_no_secret_and_writes_nothing(running, job):
    """The platform was started in a folder that was open to all."""
    sockets = [one.place for one in listeners_of(running.processes) if one.kind == "unix"]
    inside = [str(path) for folder in (running.state_dir, running.ray_folder) for path in (folder, *folder.rglob("*"))]
    of_processes = [
        f"/proc/{one.pid}/{name}" for one in running.processes for name in ("environ", "cmdline", "mem", "maps", "fd")
    ]
    asked = {
        "paths": sorted({*inside, *sockets, *of_processes, *held_by(running.processes)}),
        "secrets": {
            name: [base64.b64encode(form).decode() for form in forms_of(secret)]
            for name, secret in secrets_of(running).items()
        },
    }
    command = [sys.executable, "-m", "tests.cluster.another_user", "65534"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(done.stdout)
    assert found["tried"] > 100
    assert found["read"] > 10, "the titles of processes can be read by all"
    assert (found["secrets"], found["writable"], found["connected"]) == ({}, [], [])


def held_by(processes: list[psutil.Process]) -> set[str]:
    """The files that processes have open, or mapped to be written, wherever they are."""
    found: set[str] = set()
    for process in processes:
        with contextlib.suppress(OSError, psutil.Error):
            found |= {str(one.readlink()) for one in Path(f"/proc/{process.pid}/fd").iterdir()}
            maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
            found |= {line.split(maxsplit=5)[5] for line in maps if line.count("/") and " rw-s" in line}
    return {path for path in found if path.startswith("/") and not path.startswith(("/proc/", "/sys/", "/dev/null"))}


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_no_actor_tells_a_secret(running, job, tmp_path):
    """The last one: it asks for every verb, so that versions stop, and others start."""
    # A stranger has none of the platform's settings of Ray Serve, which other tests put into this process.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_SERVE_", "RAY_AUTH_"))}
    token = running.state_dir / "keys" / "ray-token"
    environment = {**own, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    command = [sys.executable, "-m", "tests.cluster.asking_all", running.ray_address, str(tmp_path / "answers")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    answers = pickle.loads((tmp_path / "answers").read_bytes())
    key, secrets = PlatformKey.load(running.state_dir), secrets_of(running)
    replicas = [
        pickle.loads(content[content.index(b"\x80\x05") :]).replica
        for name, answered, content in answers
        if name == "ModelVersion.link" and answered
    ]
    assert replicas, [(name, content[:300]) for name, _, content in answers if name.startswith("ModelVersion")]
    secrets |= {f"link to {replica}": key.link_secret(replica) for replica in replicas}
    assert {name: told for name, _, content in answers if (told := told_in(content, secrets))} == {}

    answered = {name for name, good, _ in answers if good}
    for cls, calls in CALLS.items():
        asked = {f"{cls.__name__}.{name}" for name, arguments in calls.items() if arguments is not None}
        if cls not in (NodeCollectorActor, JobActor):  # the one is there while there are many sources, the other ends
            assert asked <= answered, asked - answered
    assert {f"Serve about {name}" for name in ("Gateway", "Console", "ModelVersion")} <= answered
    assert len([name for name in answered if ": " in name]) >= len(verbs()) // 3, (
        "the verbs get arguments that they take"
    )
