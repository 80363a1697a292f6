"""Create the tables of records and journal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NAME = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "records",
        sa.Column("ordinal", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column("collection", _NAME, nullable=False),
        sa.Column("key", _NAME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.UniqueConstraint("collection", "key", name="uq_records_collection_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_records_collection_ordinal", "records", ["collection", "ordinal"])
    op.create_table(
        "streams",
        sa.Column("stream", _NAME, primary_key=True),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "journal",
        sa.Column("stream", _NAME, primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("journal")
    op.drop_table("streams")
    op.drop_index("ix_records_collection_ordinal", "records")
    op.drop_table("records")
