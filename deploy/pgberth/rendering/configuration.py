"""The server's configuration files, rendered for one tenant."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pgberth.model import layout
from pgberth.model.resources import TEMPLATES
from pgberth.model.roles import APP_LOGINS, DATABASE, FRESH, MIGRATOR, MONITOR, REHEARSAL, SUPERUSER
from pgberth.model.tenant import Tenant

# Who has the run of the container's socket may be less than the superuser there, without a password.
_PG_IDENT = f"# Written by pgberth.\ninside postgres {MONITOR}\ninside postgres {MIGRATOR}\n"


def restart_files(tenant: Tenant) -> dict[str, str]:
    """Files that only a new container takes up: they are part of the spec's fingerprint."""
    return {
        "guard.sh": (TEMPLATES / "entrypoint/guard.sh").read_text(),
        "postgresql.conf": postgresql_conf(tenant.profile.lines()),
    }


def reload_files(tenant: Tenant) -> dict[str, str]:
    """
    Files that the running server takes up on reload.

    A server that listens beyond loopback has a pg_hba.conf of its own. Both are there for every tenant: the server that
    runs goes on with the one it was started with until it is recycled.
    """
    hba = {layout.HBA: pg_hba_conf(tenant), layout.HBA_TLS: pg_hba_conf(tenant, "hostssl")}
    return {**hba, "pg_ident.conf": _PG_IDENT}


def postgresql_conf(settings: Mapping[str, str]) -> str:
    """postgresql.conf with every value quoted."""
    lines = [f"{name} = '{value.translate(_ESCAPES)}'" for name, value in settings.items()]
    return "\n".join(["# Written by pgberth; recycle the tenant to change it.", *lines]) + "\n"


# Inside quotes the server reads backslashes as C does; a value of several lines would end the file's validity.
_ESCAPES = str.maketrans({"\\": r"\\", "'": "''", "\n": r"\n", "\r": r"\r"})


def pg_hba_conf(tenant: Tenant, way: str = "host") -> str:
    """
    The whole of pg_hba.conf: it ends in reject, and nothing in it trusts.

    + way: "hostssl" where nobody is let in without TLS

    The superuser's line stands before any that would let it in.
    """
    environment = Environment(  # noqa: S701  (no markup is rendered)
        loader=FileSystemLoader(TEMPLATES / "postgres"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("pg_hba.conf.j2").render(
        way=way,
        superuser=SUPERUSER,
        database=DATABASE,
        logins=(*APP_LOGINS, MIGRATOR, MONITOR),
        scratch=(REHEARSAL, FRESH),
        migrator=MIGRATOR,
        monitor=MONITOR,
        superuser_tcp=tenant.superuser_tcp,
    )
