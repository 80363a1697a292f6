from collections.abc import Iterator

import pytest

from streamb.clock import ManualClock
from streamb.store import Database, open_database
from tests.store.databases import (
    _migrated_postgres_url,
    _migrated_sqlite_file,
    new_postgres_url,
    postgres_folder,
    postgres_server,
    postgres_url,
    sqlite_url,
)
from tests.store.memory import memory_database

__all__ = [
    "_migrated_postgres_url",
    "_migrated_sqlite_file",
    "new_postgres_url",
    "postgres_folder",
    "postgres_server",
    "postgres_url",
    "sqlite_url",
]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1000.0)


@pytest.fixture(params=["memory", "sqlite"])
def database(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Database]:
    if request.param == "memory":
        opened = memory_database(clock)
    else:
        fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
        opened = open_database(request.getfixturevalue(fixture), clock)
    yield opened
    opened.close()
