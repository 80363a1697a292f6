"""Migrates the tables of a database to the schema of this code, by the Alembic migrations in this package.

Runs whenever a database is opened, in one process at a time: the others wait for the lock and then have nothing to do.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from streamb.errors import DatabaseTooNew
from streamb.store.sql_engine import Transactions
from streamb.store.sql_tables import SCHEMA_REVISION

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER: Final = Path(__file__).parent / "migrations"
_ADVISORY_LOCK: Final = 0x73747265616D62  # "streamb": any constant that nobody else uses
_IN_PROCESS = threading.Lock()  # Alembic keeps its context in global variables


def migrate(transactions: Transactions) -> None:
    """Migrate the database to `SCHEMA_REVISION`.

    Raises:
        DatabaseTooNew: a newer streamb has migrated it; nothing was changed.
        StorageFailed: it cannot be reached or locked.
    """
    with _IN_PROCESS, transactions.writing() as connection:
        if transactions.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        found = _revision(connection)
        if found == SCHEMA_REVISION:
            return
        from alembic import command  # costs 0.2 s, and a database is migrated only once
        from alembic.script import ScriptDirectory

        config = alembic_config()
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise DatabaseTooNew(
                f"the database has schema {found}, this streamb knows schemas up to {SCHEMA_REVISION}: "
                "it was used with a newer streamb; install that version, or use another database",
                found=found,
                known=SCHEMA_REVISION,
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def alembic_config() -> Config:
    """Return Alembic's configuration, which needs no file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
