"""
List everything in a schema as comparable rows, and compare two such lists.

`verify` checks whether what the migrations made still exists. Drift checks more: whether anything differs from a fresh
build of the same versions, additions included. Both lists must come from the same server version, because each version
prints definitions in its own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg.rows import class_row

from pgberth.migrations.ledger import SCHEMA, Connection
from pgberth.model.tenant import Tenant
from pgberth.rendering.sql import render


@dataclass(frozen=True, order=True)
class Trait:
    """
    One property of one object.

    + kind: schema, type, table, column, constraint, index, trigger, rule, policy, function, sequence, statistics
    + object: qualified; a function with its argument types
    + trait: type, default, definition, owner, rights, comment, ...
    """

    kind: str
    object: str
    trait: str
    value: str


@dataclass(frozen=True)
class Difference:
    """
    One difference between a desired and a live schema.

    + trait: the property that differs; empty if the whole object is on one side only
    + desired, live: its values; None if there is none
    """

    kind: str
    object: str
    trait: str
    desired: str | None
    live: str | None

    def __str__(self) -> str:
        """As drift: "index knowledge.i is missing"."""
        if not self.trait:
            return f"{self.kind} {self.object} is {'missing' if self.live is None else 'not wanted'}"
        return f"{self.kind} {self.object} has {self.trait} {_shown(self.live)}, wanted {_shown(self.desired)}"

    @property
    def as_change(self) -> str:
        """The same as a change from `desired` to `live`: "adds index knowledge.i"."""
        if not self.trait:
            return f"{'drops' if self.live is None else 'adds'} {self.kind} {self.object}"
        return f"changes {self.trait} of {self.kind} {self.object} from {_shown(self.desired)} to {_shown(self.live)}"


def _shown(value: str | None) -> str:
    return "none" if value is None else value


def compared_schemas(tenant: Tenant) -> tuple[str, ...]:
    """The schemas that are checked for drift: those of the tenant's components, and the ledger's."""
    return (*tenant.ordered_components, SCHEMA)


def snapshot_sql(schemas: Iterable[str]) -> str:
    """
    One SELECT with the text columns kind, object, trait, value, for all objects of these schemas.

    It reads the catalogue only. In definitions, names outside the search_path have their schema, so both sides of a
    comparison need the same search_path: run it after `SET search_path = pg_catalog, pg_temp`.
    """
    return render("migrations/snapshot.sql.j2", {"schemas": tuple(schemas)})


def snapshot(connection: Connection, schemas: Iterable[str]) -> tuple[Trait, ...]:
    """All traits of these schemas, sorted. A missing schema has none."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Trait)) as cursor:
        cursor.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        return tuple(sorted(cursor.execute(snapshot_sql(schemas).encode(), prepare=False)))


def differences(desired: Iterable[Trait], live: Iterable[Trait]) -> tuple[Difference, ...]:
    """Every difference, sorted. An object that is on one side only is one difference, not one for each trait."""
    found = _compared(_by_object(desired), _by_object(live))
    return tuple(sorted(found, key=lambda difference: (difference.kind, difference.object, difference.trait)))


_Objects = dict[tuple[str, str], dict[str, str]]


def _by_object(traits: Iterable[Trait]) -> _Objects:
    objects: _Objects = {}
    for trait in traits:
        objects.setdefault((trait.kind, trait.object), {})[trait.trait] = trait.value
    return objects


def _compared(desired: _Objects, live: _Objects) -> Iterator[Difference]:
    for identity in desired.keys() ^ live.keys():
        is_wanted = identity in desired
        yield Difference(*identity, "", *(("present", None) if is_wanted else (None, "present")))
    for identity in desired.keys() & live.keys():
        first, second = desired[identity], live[identity]
        for trait in first.keys() | second.keys():
            if first.get(trait) != second.get(trait):
                yield Difference(*identity, trait, first.get(trait), second.get(trait))
