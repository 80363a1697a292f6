"""The tables as SQLAlchemy declares them. The migrations create them; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text, UniqueConstraint

SCHEMA_REVISION: Final = "0001"
"""The newest migration: the schema that this code requires."""

metadata = MetaData()

NAME = Text(collation="C").with_variant(Text(), "sqlite")
"""Text that sorts by code point on every database (SQLite does so by default)."""

COUNTER = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit integer (SQLite numbers rows only in a column declared INTEGER)."""

records = Table(
    "records",
    metadata,
    # The order of creation, never used twice: `newest_first` orders by it, because clocks may jump.
    Column("ordinal", COUNTER, primary_key=True, autoincrement=True),
    Column("collection", NAME, nullable=False),
    Column("key", NAME, nullable=False),
    Column("body", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("collection", "key", name="uq_records_collection_key"),
    Index("ix_records_collection_ordinal", "collection", "ordinal"),
    sqlite_autoincrement=True,
)

streams = Table(
    "streams",
    metadata,
    # One row per journal stream. Appending locks it until commit, so that sequences have no gaps and become visible
    # in order: a reader that follows a stream misses nothing.
    Column("stream", NAME, primary_key=True),
    Column("last_sequence", BigInteger, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("stream", NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("body", Text, nullable=False),
)
