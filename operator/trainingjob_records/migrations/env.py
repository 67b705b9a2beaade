"""Alembic's environment script: runs the migrations on the connection from the configuration."""

from alembic import context

from trainingjob_records.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    # SQLite cannot alter a table in place, so Alembic copies it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
