"""Alembic's entry point: runs the migrations on the connection that `streamb.store.sql_migrate` passes in.

The caller owns the transaction, so a migration that fails half-way leaves the database as it was.
"""

from __future__ import annotations

from alembic import context

from streamb.store.sql_tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
