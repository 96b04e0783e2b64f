"""The server's configuration files, rendered for one tenant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pgberth.model import layout
from pgberth.model.resources import TEMPLATES
from pgberth.model.roles import APP_LOGINS, DATABASE, FRESH, MIGRATOR, MONITOR, REHEARSAL, SUITE, SUPERUSER
from pgberth.model.tenant import Tenant
from pgberth.rendering.environment import Language, Typed, environment

# An operating system user who may use the container's socket may log in there as less than the superuser, too.
_PG_IDENT = f"# Written by pgberth.\ninside postgres {MONITOR}\ninside postgres {MIGRATOR}\n"


def restart_files(tenant: Tenant) -> dict[str, str]:
    """Name -> text of the files that only a new container reads: they are part of the spec's fingerprint."""
    return {
        "guard.sh": (TEMPLATES / "entrypoint/guard.sh").read_text(),
        "postgresql.conf": postgresql_conf(tenant.profile.lines()),
    }


def reload_files(tenant: Tenant) -> dict[str, str]:
    """
    Name -> text of the files that the running server reads again on reload.

    A server that listens beyond loopback uses another pg_hba.conf. Every tenant has both: the running server keeps the
    one that it was started with until it is recycled.
    """
    hba = {layout.HBA: pg_hba_conf(tenant), layout.HBA_TLS: pg_hba_conf(tenant, "hostssl")}
    return {**hba, "pg_ident.conf": _PG_IDENT}


def postgresql_conf(settings: Mapping[str, str]) -> str:
    """postgresql.conf with every value quoted."""
    lines = [f"{name} = '{value.translate(_ESCAPES)}'" for name, value in settings.items()]
    return "\n".join(["# Written by pgberth; recycle the tenant to change it.", *lines]) + "\n"


# Inside quotes the server reads backslashes as C does. A line break in a value would make the file invalid.
_ESCAPES = str.maketrans({"\\": r"\\", "'": "''", "\n": r"\n", "\r": r"\r"})


class HbaText(Typed):
    """Text that may stand in pg_hba.conf as it is."""

    __slots__ = ()


# Names that need no quotes there. `all` and `replication` are keywords, and so never the name of a role or a database.
_HBA_NAME = re.compile(r"(?!(all|replication|sameuser|samerole|samegroup)$)[a-z_][a-z0-9_]*")


def hba_name(value: object) -> HbaText:
    """One name of a role or a database, or a type of connection. Raises ValueError."""
    return hba_names([value])


def hba_names(values: Iterable[object]) -> HbaText:
    """Names with commas between them. Raises ValueError."""
    texts = list(values)
    if wrong := [text for text in texts if not isinstance(text, str) or not _HBA_NAME.fullmatch(text)]:
        raise ValueError(f"{wrong[0]!r} is not a plain name for pg_hba.conf")
    return HbaText(",".join(map(str, texts)))


HBA = Language("pg_hba.conf", HbaText, {"name": hba_name, "names": hba_names})


def pg_hba_conf(tenant: Tenant, connection: str = "host") -> str:
    """
    The whole of pg_hba.conf: it ends in reject, and has no `trust`.

    + connection: "host", or "hostssl" to accept only connections with TLS

    The lines about the superuser come before any that would accept it.
    """
    template = environment(TEMPLATES / "postgres", HBA).get_template("pg_hba.conf.j2")
    return template.render(
        connection=connection,
        superuser=SUPERUSER,
        database=DATABASE,
        logins=(*APP_LOGINS, SUITE, MIGRATOR, MONITOR),
        scratch=(REHEARSAL, FRESH),
        migrator=MIGRATOR,
        monitor=MONITOR,
        superuser_tcp=tenant.superuser_tcp,
    )
