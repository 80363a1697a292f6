from tests.store.databases import (
    _migrated_postgres_url,
    _migrated_sqlite_file,
    new_postgres_url,
    postgres_folder,
    postgres_server,
    postgres_url,
    sqlite_url,
)

__all__ = [
    "_migrated_postgres_url",
    "_migrated_sqlite_file",
    "new_postgres_url",
    "postgres_folder",
    "postgres_server",
    "postgres_url",
    "sqlite_url",
]
