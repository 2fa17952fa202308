"""Jobs that compare what they made with its base."""

import sqlalchemy as sa
from alembic import op

revision = "server_0003"
down_revision = "server_0002"


def upgrade() -> None:
    """Jobs remember how many items they are to be evaluated on, and what came out."""
    op.add_column("job", sa.Column("evaluate", sa.Integer))
    op.add_column("job", sa.Column("evaluation", sa.JSON))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("job", "evaluation")
    op.drop_column("job", "evaluate")
