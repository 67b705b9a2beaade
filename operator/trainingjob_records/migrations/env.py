"""The script that Alembic executes to migrate, on the connection that it is given."""

from alembic import context

from trainingjob_records.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    # SQLite cannot alter a table in place; Alembic copies it then.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
