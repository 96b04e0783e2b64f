"""A search of the app's returns all its rows: pgvector works with the profile's settings."""

from __future__ import annotations

from collections.abc import Iterator

from pgberth.checks.context import Check, CheckContext, rolled_back

# Using the type loads pgvector, which then takes up or rejects what the login came with.
_LOAD = "SELECT '[1]'::public.vector"
_LIVE = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)"


def _defaults(context: CheckContext) -> Iterator[str]:
    desired = context.tenant.profile.search
    with rolled_back(context.client()) as cursor:
        cursor.execute(_LOAD)
        live = dict(cursor.execute(_LIVE, [list(desired)]).fetchall())
    unknown = f"unknown to pgvector {context.server.vector}"
    for name, value in desired.items():
        if live.get(name) != value:
            yield f"{name} is {live.get(name, unknown)}, wanted {value}: a search can return too few rows"


CHECKS = (Check("search-defaults", "the app's searches return all their rows, whatever the filter", _defaults),)
