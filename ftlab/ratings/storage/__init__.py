"""Where ratings lie: one SQLite file or a PostgreSQL database, and what can be saved of a damaged one."""
