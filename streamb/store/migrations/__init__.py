"""The history of the tables, as Alembic migrations. `streamb.store.sql_migrate` runs them at open."""
