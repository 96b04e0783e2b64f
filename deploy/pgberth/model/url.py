"""Connection URLs of a tenant's components."""

from __future__ import annotations

from urllib.parse import quote

from pgberth.model.roles import APP_LOGINS, DATABASE
from pgberth.model.secret import Secret

EXTENSION_SCHEMA = "public"


def search_path(component: str) -> tuple[str, ...]:
    """Schemas of a component's connection, in order: its own, then the one that holds pgvector."""
    return (component, EXTENSION_SCHEMA)


def tenant_url(
    port: int,
    component: str | None = None,
    *,
    passfile: str | None = None,
    password: Secret | None = None,
    user: str = APP_LOGINS[0],
) -> str:
    """
    A libpq URL for the tenant on this port of loopback.

    + component: whose schema comes first on the search_path; None leaves the path to the role's default
    + passfile: absolute path; keeps the password out of the URL, and so out of an argv
    + password: written into the URL, for the one place that may show it

    The path travels as `options=-csearch_path%3D...`: libpq refuses a `search_path=` parameter.
    """
    login = user if password is None else f"{user}:{quote(password.reveal(), safe='')}"
    parameters = []
    if component is not None:
        parameters.append("options=" + quote(f"-csearch_path={','.join(search_path(component))}", safe="-_"))
    if passfile is not None:
        parameters.append("passfile=" + quote(passfile, safe="/"))
    query = "?" + "&".join(parameters) if parameters else ""
    return f"postgresql://{login}@127.0.0.1:{port}/{DATABASE}{query}"


def passfile_line(port: int, password: Secret, user: str = APP_LOGINS[0]) -> str:
    """The line of a libpq passfile for that login on this port of loopback."""
    escaped = password.reveal().replace("\\", "\\\\").replace(":", "\\:")
    return f"127.0.0.1:{port}:{DATABASE}:{user}:{escaped}\n"


def variable(component: str | None) -> str:
    """The environment variable a component's URL is published under."""
    return "DATABASE_URL" if component is None else f"{component.upper()}_DATABASE_URL"
