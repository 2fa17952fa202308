"""The tables of jobs; `service.py` and `running.py` write them."""

import sqlalchemy as sa

from tunesmith.core.store import metadata

JOB = sa.Table(
    "job",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("organization", sa.Text, nullable=False),
    sa.Column("api_key", sa.Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("training_file", sa.Text, nullable=False),
    sa.Column("validation_file", sa.Text),
    sa.Column("suffix", sa.Text),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("metadata", sa.JSON),
    sa.Column("integrations", sa.JSON),
    sa.Column("hyperparameters", sa.JSON, nullable=False),
    sa.Column("recipe", sa.JSON, nullable=False),
    sa.Column("evaluate", sa.Integer),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("resolved", sa.JSON(none_as_null=True)),
    sa.Column("evaluation", sa.JSON(none_as_null=True)),
    sa.Column("fine_tuned_model", sa.Text),
    sa.Column("result_file", sa.Text),
    sa.Column("trained_tokens", sa.BigInteger),
    sa.Column("steps_seen", sa.Integer, nullable=False),
    sa.Column("deaths", sa.Integer, nullable=False),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("estimated_finish", sa.BigInteger),
)
EVENT = sa.Table(
    "job_event",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("job", sa.Text, sa.ForeignKey("job.id"), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
)
CHECKPOINT = sa.Table(
    "job_checkpoint",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("job", sa.Text, sa.ForeignKey("job.id"), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.UniqueConstraint("job", "step"),
)

VALIDATING, QUEUED, RUNNING, PAUSED = "validating_files", "queued", "running", "paused"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
ENDED = (SUCCEEDED, FAILED, CANCELLED)
