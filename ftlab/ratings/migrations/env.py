"""Runs the revisions on the connection handed over, in its transaction: all of an upgrade or none."""

from alembic import context

from ftlab.ratings.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite is capable of it where BEGIN is our own
)
with context.begin_transaction():
    context.run_migrations()
