"""Changes whose answer is lost because the Controller dies: whenever it dies, the repetition leaves one change.

The Controller dies right after one of the transactions of the request, one after the other; then a new Controller opens
the same database, and the request is repeated through another Console.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from streamb.api import create_app
from streamb.asking import ONCE
from streamb.clock import ManualClock
from streamb.errors import Conflict, Unavailable
from streamb.store import Database, memory_database
from streamb.store.sql_engine import Transactions
from tests.api import fakes
from tests.api.conftest import client_of
from tests.api.fakes import InProcess
from tests.api.monitored import baseline_body
from tests.api.test_models import form

KEY = {"Idempotency-Key": "order-1"}
ORDER = {"model_id": "churn", "target_version": "1.0.0"}
GATED = {
    **ORDER,
    "target_version": "1.1.0",
    "strategy": "blue_green",
    "options": {"approval_required": True},
}


class Killed(BaseException):
    """The Controller is killed."""


class World:
    """A platform whose Controller dies after a number of transactions and is started again.

    Attributes:
        dies_after: the number of transactions after which it dies; None: it lives.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.database: Database = memory_database(ManualClock(start=1_700_000_000.0))
        monkeypatch.setattr(fakes, "memory_database", lambda _clock: self.database)
        self.dies_after: int | None = None
        self.backend = Reopened(folder)
        self._write(monkeypatch)

    def _write(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written = Transactions._writer

        @contextmanager
        def dying(transactions: Transactions) -> Iterator[Any]:
            with written(transactions) as connection:
                yield connection
            if self.dies_after is not None:
                self.dies_after -= 1
                if self.dies_after == 0:
                    raise Killed

        monkeypatch.setattr(Transactions, "_writer", dying)

    def restart(self) -> None:
        """Start a new Controller on the same database and beside the same apps and jobs."""
        self.dies_after = None
        old, self.backend = self.backend, Reopened(self._folder)
        self.backend.runtime.specs.update(old.runtime.specs)
        self.backend.jobs.__dict__.update(old.jobs.__dict__)

    def counts(self) -> Mapping[str, int]:
        """The number of records in each collection, and of entries in each journal.

        Not of what is no part of a change: kept answers, the epoch, and marks that the next sweep removes.
        """
        apart = ("idempotency", "control", "unused-blobs")
        with self.database.records._transactions.reading() as connection:  # type: ignore[attr-defined]
            records = connection.execute(text("select collection, count(*) from records group by collection")).all()
            journal = connection.execute(text("select stream, count(*) from journal group by stream")).all()
        return {f"{name}": number for name, number in [*records, *journal] if name not in apart}

    def kept(self) -> bool:
        """Whether an answer was kept: a verb's, or the whole."""
        return any(one.body["steps"] or one.body["status"] for one in self.database.records.list("idempotency").items)


class Reopened(InProcess):
    """The control side over the database of a Controller before it; a killed one answers nothing any more."""

    killed = False

    @staticmethod
    def _key(directory: Any, keys: Any, name: str, *roles: Any) -> str:
        with suppress(Conflict):
            directory.create(name, "service", roles)
        return keys.create(name)[0]

    def _progress(self) -> None:
        """Nothing: `advance` does it where the test wants it."""

    async def control(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        try:
            if not self.killed:
                return await super().control(name, args, kwargs)
        except Killed:
            self.killed = True
        raise Unavailable("the Controller is being restarted", retry_after_s=1)


@dataclass(frozen=True)
class Asked:
    """One request that changes something.

    Attributes:
        route: method and path of the route.
        path: the path, with `{made}` for what `before` returned.
        before: makes what the request needs; returns the id that is part of the path.
    """

    route: str
    path: str = ""
    body: Any = None
    files: Callable[[Path], Any] | None = None
    before: list[Callable[[httpx.AsyncClient, World, Path], Awaitable[str]]] = field(default_factory=list)

    async def send(self, client: httpx.AsyncClient, made: str, archive: Path) -> httpx.Response:
        method, pattern = self.route.split()
        path = (self.path or pattern).replace("{made}", made)
        files = self.files(archive) if self.files else None
        return await client.request(method, path, json=self.body, files=files, headers=KEY)


async def model(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    for version in ("1.0.0", "1.1.0"):
        facts = {"version": version, "model": {"name": "Churn"}}
        answer = await client.post("/api/models/churn/versions", files=form(archive, **facts))
        assert answer.status_code == 201, answer.text
    return "churn"


async def deployed(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    await model(client, world, archive)
    made = await client.post("/api/deployments", json=ORDER)
    assert made.status_code == 201, made.text
    advance(world)
    return made.json()["id"]


async def gated(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    await deployed(client, world, archive)
    world.backend.clock.advance(700)
    advance(world)
    headers = {"X-API-Key": world.backend.guest_key}
    made = await client.post("/api/deployments", json=GATED, headers=headers)
    assert made.status_code == 201, made.text
    advance(world, 30)
    return made.json()["id"]


async def paused(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    await deployed(client, world, archive)
    order = {**ORDER, "target_version": "1.1.0", "strategy": "canary"}
    made = (await client.post("/api/deployments", json=order)).json()["id"]
    advance(world)
    answer = await client.post(f"/api/deployments/{made}/pause")
    assert answer.status_code == 200, answer.text
    return made


async def progressing(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    made = await paused(client, world, archive)
    assert (await client.post(f"/api/deployments/{made}/resume")).status_code == 200
    return made


async def named(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    await model(client, world, archive)
    answer = await client.put("/api/models/churn/aliases/champion", json={"version": "1.0.0"})
    assert answer.status_code == 200
    return "champion"


async def job(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    answer = await client.post("/api/jobs", json={"entrypoint": "true"})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def person(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    answer = await client.post("/api/principals", json={"name": "ada", "kind": "person", "roles": ["viewer"]})
    assert answer.status_code == 201, answer.text
    return "ada"


async def key(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    await person(client, world, archive)
    answer = await client.post("/api/keys", json={"principal": "ada"})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def advance(world: World, seconds: float = 0.0) -> None:
    for _ in range(10):
        world.backend.clock.advance(seconds / 10)
        world.backend.report()
        while world.backend.rollouts.tick():
            pass


STEER = "POST /api/deployments/{deployment_id}"
CONTROLLER: list[Asked] = [
    Asked("POST /api/models", body={"model_id": "churn"}),
    Asked("PUT /api/models/{model_id}/tags", "/api/models/churn/tags", {"tags": {"a": "b"}}, before=[model]),
    Asked(
        "PUT /api/models/{model_id}/aliases/{alias}",
        "/api/models/churn/aliases/x",
        {"version": "1.0.0"},
        before=[model],
    ),
    Asked("DELETE /api/models/{model_id}/aliases/{alias}", "/api/models/churn/aliases/{made}", before=[named]),
    Asked(
        "POST /api/models/{model_id}/versions",
        "/api/models/churn/versions",
        files=lambda archive: form(archive, model={"name": "Churn"}),
    ),
    Asked(
        "POST /api/models/{model_id}/versions/{version}/stage",
        "/api/models/churn/versions/1.0.0/stage",
        {"stage": "staging"},
        before=[model],
    ),
    Asked("DELETE /api/models/{model_id}/versions/{version}", "/api/models/churn/versions/1.1.0", before=[model]),
    Asked("POST /api/models/{model_id}/undeploy", "/api/models/churn/undeploy", before=[deployed]),
    Asked("POST /api/deployments", body=ORDER, before=[model]),
    Asked(f"{STEER}/approve", "/api/deployments/{made}/approve", before=[gated]),
    Asked(f"{STEER}/pause", "/api/deployments/{made}/pause", before=[progressing]),
    Asked(f"{STEER}/resume", "/api/deployments/{made}/resume", before=[paused]),
    Asked(f"{STEER}/promote", "/api/deployments/{made}/promote", before=[progressing]),
    Asked(f"{STEER}/abort", "/api/deployments/{made}/abort", before=[progressing]),
    Asked(f"{STEER}/rollback", "/api/deployments/{made}/rollback", before=[progressing]),
    Asked("POST /api/jobs", body={"entrypoint": "true"}),
    Asked("POST /api/jobs/{job_id}/stop", "/api/jobs/{made}/stop", before=[job]),
    Asked("POST /api/principals", body={"name": "ada", "kind": "person", "roles": ["viewer"]}),
    Asked("PUT /api/principals/{name}/roles", "/api/principals/{made}/roles", {"roles": ["operator"]}, before=[person]),
    Asked("DELETE /api/principals/{name}", "/api/principals/ada", before=[key]),
    Asked("POST /api/keys", body={"principal": "operator"}),
    Asked("POST /api/keys/{key_id}/rotate", "/api/keys/{made}/rotate", {"grace_s": 60}, before=[key]),
    Asked("DELETE /api/keys/{key_id}", "/api/keys/{made}", before=[key]),
]


async def silence(client: httpx.AsyncClient, world: World, archive: Path) -> str:
    await model(client, world, archive)
    return (await client.post("/api/alerts/silences", json=SILENCE)).json()["id"]


SILENCE = {"matchers": ['model="churn"'], "comment": "load test"}
THRESHOLDS = "/api/monitoring/churn/thresholds"
OTHERS = ("POST", THRESHOLDS, {"min_accuracy": 0.5}), ("POST", "/api/monitoring/baseline", baseline_body(300))
"""What somebody else changes before the repetition: it must stay."""

MONITOR: list[Asked] = [
    Asked("POST /api/alerts/silences", body=SILENCE, before=[model]),
    Asked("DELETE /api/alerts/silences/{silence_id}", "/api/alerts/silences/{made}", before=[silence]),
    Asked("POST /api/alerts/test", body={"channel": "log"}, before=[model]),
    Asked("POST /api/monitoring/{model_id}/thresholds", THRESHOLDS, {"min_accuracy": 0.9}, before=[model]),
    Asked("POST /api/monitoring/baseline", body=baseline_body(200), before=[model]),
]


def test_every_route_that_changes_something_is_tried(backend):
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
    found = {
        f"{method.upper()} {path}"
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if "Idempotency-Key" in [one["name"] for one in operation.get("parameters", ())]
    }
    assert {one.route for one in (*CONTROLLER, *MONITOR)} == found


@pytest.mark.parametrize("asked", CONTROLLER, ids=lambda asked: asked.route)
async def test_wherever_the_controller_dies_the_change_is_made_once(asked, tmp_path, monkeypatch, archive):
    finished: Mapping[str, int] | None = None
    reference: Mapping[str, int] | None = None
    told = 0
    for dies_after in range(100):  # 0: it does not die
        with monkeypatch.context() as patched:
            world = World(tmp_path / str(dies_after), patched)
            async with client_of(world.backend, **{"X-API-Key": world.backend.api_key}) as client:
                made = "".join([await before(client, world, archive) for before in asked.before])
                before = world.counts()
                world.dies_after = dies_after or None
                first = await asked.send(client, made, archive)
            if dies_after and not world.backend.killed:
                break
            changed, kept = world.counts() != before, world.kept()
            finished = finished or world.counts()  # the first one does not die
            if not dies_after:
                assert first.is_success, first.text
            elif changed and not asked.route.startswith("POST /api/jobs"):
                assert kept, "it was changed, but its answer was not kept with the change"
            left = world.counts()
            world.restart()
            async with client_of(world.backend, **{"X-API-Key": world.backend.api_key}) as client:
                second = await asked.send(client, made, archive)
                assert second.is_success, second.text
                third = await asked.send(client, made, archive)
            assert (third.status_code, third.json()) == (second.status_code, second.json())
            assert second.headers.get("location") == third.headers.get("location")
            assert third.headers["idempotency-replayed"] == "true"
            if kept and left == finished:
                assert second.headers["idempotency-replayed"] == "true"
                told += dies_after > 0
            reference = reference or world.counts()
            assert world.counts() == reference
    else:
        raise AssertionError("it has no last transaction")
    assert told or asked.route.startswith("POST /api/jobs")


@pytest.mark.parametrize("asked", MONITOR, ids=lambda asked: asked.route)
async def test_a_change_of_the_monitor_whose_answer_is_lost_is_told_again(asked, backend, archive):
    asks = backend.monitor
    done: list[str] = []

    async def losing(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        answer = await asks(name, args, kwargs)
        if ONCE in kwargs and not done:
            done.append(name)
            raise Unavailable("the answer is lost")
        return answer

    async with client_of(backend) as client:
        made = "".join([await before(client, backend, archive) for before in asked.before])
    backend.monitor = losing
    async with client_of(backend) as client:
        lost = await asked.send(client, made, archive)
        assert lost.status_code == 503, lost.text
        for method, path, body in OTHERS:
            assert (await client.request(method, path, json=body)).is_success
    before = await state(backend)
    async with client_of(backend) as client:
        told = await asked.send(client, made, archive)
    assert told.is_success, told.text
    assert told.headers["idempotency-replayed"] == "true"
    assert await state(backend) == before
    assert len(done) == 1


async def state(backend: InProcess) -> list[Any]:
    """What the Monitor holds."""
    async with client_of(backend) as client:
        paths = ("/api/alerts/silences", THRESHOLDS, "/api/monitoring/churn/baselines", "/api/alerts/channels")
        return [(await client.get(path)).json() for path in paths]
