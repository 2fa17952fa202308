"""What Alembic runs: the steps of one schema, on the connection that `core.database` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
