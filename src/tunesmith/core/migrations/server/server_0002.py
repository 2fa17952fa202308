"""API keys; versions that go on from others."""

import sqlalchemy as sa
from alembic import op

revision = "server_0002"
down_revision = "server_0001"


def upgrade() -> None:
    """Make the table; jobs remember which key asked for them, versions from which other one they go on."""
    op.create_table(
        "api_key",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("storage_bytes", sa.BigInteger),
        sa.Column("jobs", sa.Integer),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.add_column("job", sa.Column("api_key", sa.Text))
    op.add_column("version", sa.Column("parent", sa.Text))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("version", "parent")
    op.drop_column("job", "api_key")
    op.drop_table("api_key")
