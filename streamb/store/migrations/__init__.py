"""The Alembic migrations of the tables. `streamb.store.sql_migrate` runs them whenever a database is opened."""
