"""Whose request it was, and which answers a client wants kept."""

import sqlalchemy as sa
from alembic import op

revision = "record_0002"
down_revision = "record_0001"


def upgrade() -> None:
    """Add the columns; earlier requests are nobody's in particular."""
    op.add_column("request", sa.Column("project", sa.Text, nullable=False, server_default=""))
    op.add_column("request", sa.Column("stored", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("request", sa.Column("metadata", sa.JSON))
    op.create_index("request_stored", "request", ["project", "time"], sqlite_where=sa.text("stored"))


def downgrade() -> None:
    """Drop them."""
    op.drop_index("request_stored", "request")
    for name in ("metadata", "stored", "project"):
        op.drop_column("request", name)
