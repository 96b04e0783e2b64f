"""The way into a tenant's PostgreSQL: sessions, the superuser's socket, roles, grants, pg_hba."""
