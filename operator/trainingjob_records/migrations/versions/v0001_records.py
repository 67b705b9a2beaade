"""Creates the tables of records and of their labels."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables and their indexes."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "records",
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("schema_version", sa.Text, nullable=False),
        sa.Column("cluster", sa.Text),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer),
        sa.Column("phase", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("created_at", time),
        sa.Column("started_at", time),
        sa.Column("completed_at", time),
        sa.Column("ordered_at", time, nullable=False),
        sa.Column("duration_seconds", sa.Float),
        sa.Column("num_nodes", sa.Integer),
        sa.Column("framework", sa.Text),
        sa.Column("restarts", sa.Integer),
        sa.Column("disruptions", sa.Integer),
        sa.Column("exit_code", sa.Integer),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("stored_at", time, nullable=False, server_default=sa.func.now()),
    )
    for name, *columns in (
        ("ix_records_time", "ordered_at", "uid"),
        ("ix_records_namespace", "namespace", "ordered_at", "uid"),
        ("ix_records_phase", "phase", "ordered_at", "uid"),
        ("ix_records_namespace_phase", "namespace", "phase", "ordered_at", "uid"),
    ):
        op.create_index(name, "records", columns)
    op.create_table(
        "record_labels",
        sa.Column(
            "uid", sa.Text, sa.ForeignKey("records.uid", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("ordered_at", time, nullable=False),
    )
    op.create_index("ix_record_labels", "record_labels", ["key", "value", "ordered_at", "uid"])


def downgrade() -> None:
    """Refuse: the records are there to last, and this would drop them."""
    raise NotImplementedError("the records are there to last; restore a backup instead")
