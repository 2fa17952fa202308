"""The tables of the reviews."""

import sqlalchemy as sa

metadata = sa.MetaData()
QUEUE = sa.Table(
    "queue",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
)
TASK = sa.Table(
    "task",
    metadata,
    sa.Column("queue", sa.Text, primary_key=True),
    sa.Column("row_hash", sa.Text, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("risk", sa.Float, nullable=False),
    sa.Column("position", sa.Float, nullable=False),
    sa.Column("sampled", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reviewer", sa.Text),
    sa.Column("claimed_until", sa.Float),
    sa.Column("action", sa.Text),
    sa.Column("after_hash", sa.Text),
    sa.Column("version", sa.Integer, nullable=False),
)
EVENT = sa.Table(
    "event",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("row_hash", sa.Text),
    sa.Column("slot", sa.Integer),
    sa.Column("purpose", sa.Text),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("after_hash", sa.Text),
    sa.Column("value", sa.JSON),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("tool_version", sa.Text, nullable=False),
)
