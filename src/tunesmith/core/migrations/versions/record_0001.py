"""The record of requests."""

import sqlalchemy as sa
from alembic import op

revision = "record_0001"
down_revision = None


def upgrade() -> None:
    """Make the tables `request` and `loss`."""
    op.create_table(
        "request",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error_type", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("streamed", sa.Boolean, nullable=False),
        sa.Column("finish_reason", sa.Text),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("cached_tokens", sa.Integer),
        sa.Column("first_token_seconds", sa.Float),
        sa.Column("total_seconds", sa.Float, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("messages", sa.JSON),
        sa.Column("answer", sa.Text),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_index("request_time", "request", ["time"])
    op.create_table(
        "loss",
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("contents", sa.Integer, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("loss")
    op.drop_table("request")
