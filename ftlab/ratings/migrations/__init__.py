"""How a store came to its present tables: one file a revision, carried out by Alembic."""
