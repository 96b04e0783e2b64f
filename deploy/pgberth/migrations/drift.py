"""
What a schema is made of, as comparable rows, and the difference between two such lists.

`verify` asks whether what the migrations made is still there. Drift asks more: whether anything at all differs from a
fresh run of the same versions, additions included. Both sides must come from the same server version, which words
definitions its own way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from pgberth.migrations.ledger import SCHEMA, Connection
from pgberth.model.tenant import Tenant


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
    One thing that is otherwise than wanted.

    + trait: the property that differs; empty where the whole object is on one side only
    + wanted, live: its values; None where there is none
    """

    kind: str
    object: str
    trait: str
    desired: str | None
    live: str | None

    def __str__(self) -> str:
        """As drift: "index knowledge.i is missing"."""
        if not self.trait:
            return f"{self.kind} {self.object} is {'missing' if self.live is None else 'not desired'}"
        return f"{self.kind} {self.object} has {self.trait} {_shown(self.live)}, wanted {_shown(self.desired)}"

    @property
    def as_change(self) -> str:
        """The same as a change from `wanted` to `live`: "adds index knowledge.i"."""
        if not self.trait:
            return f"{'drops' if self.live is None else 'adds'} {self.kind} {self.object}"
        return f"changes {self.trait} of {self.kind} {self.object} from {_shown(self.desired)} to {_shown(self.live)}"


def _shown(value: str | None) -> str:
    return "none" if value is None else value


def compared_schemas(tenant: Tenant) -> tuple[str, ...]:
    """The schemas in which drift is looked for: those of the tenant's components, and the ledger's."""
    return (*tenant.ordered_components, SCHEMA)


def snapshot_sql(schemas: Iterable[str]) -> str:
    """
    One SELECT with the text columns kind, object, trait, value, for all objects of these schemas.

    It reads the catalogue only. Definitions name what is not on the search_path with its schema, so both sides of a
    comparison need the same one: run it after `SET search_path = pg_catalog, pg_temp`.
    """
    names = ", ".join(sql.Literal(schema).as_string(None).strip() for schema in schemas)
    return _SNAPSHOT.replace(":schemas", f"ARRAY[{names}]::text[]").replace(":rights", _RIGHTS.strip())


def snapshot(connection: Connection, schemas: Iterable[str]) -> tuple[Trait, ...]:
    """All traits of these schemas, sorted. A schema that is not there has none."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Trait)) as cursor:
        cursor.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        return tuple(sorted(cursor.execute(snapshot_sql(schemas).encode(), prepare=False)))


def differences(desired: Iterable[Trait], live: Iterable[Trait]) -> tuple[Difference, ...]:
    """Every difference, sorted. An object that is only on one side is one difference, not one a trait."""
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


# Rights are taken apart and sorted: the order in an ACL is that of the grants, and no ACL means the defaults.
_RIGHTS = r"""
SELECT string_agg(format('%s %s%s', CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee) END,
                         x.privilege_type, CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), ', '
                  ORDER BY pg_get_userbyid(x.grantee), x.privilege_type)
"""

_SNAPSHOT = r"""
WITH
space AS (SELECT n.* FROM pg_catalog.pg_namespace AS n WHERE n.nspname = ANY (:schemas)),

relation AS (
  SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS called,
         CASE WHEN c.relkind IN ('i', 'I') THEN 'index' WHEN c.relkind = 'S' THEN 'sequence'
              WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END AS relation_kind
    FROM pg_catalog.pg_class AS c JOIN space AS n ON n.oid = c.relnamespace
),

owned (kind, object, owner, acl, defaults) AS (
  SELECT 'schema', quote_ident(nspname), nspowner, nspacl, acldefault('n', nspowner) FROM space
  UNION ALL
  SELECT relation_kind, called, relowner, relacl,
         acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner)
    FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL
  SELECT 'function', format('%I.%s(%s)', n.nspname, quote_ident(p.proname), pg_get_function_identity_arguments(p.oid)),
         p.proowner, p.proacl, acldefault('f', p.proowner)
    FROM pg_catalog.pg_proc AS p JOIN space AS n ON n.oid = p.pronamespace
  UNION ALL
  SELECT 'type', format('%I.%I', n.nspname, t.typname), t.typowner, t.typacl, acldefault('T', t.typowner)
    FROM pg_catalog.pg_type AS t JOIN space AS n ON n.oid = t.typnamespace
   WHERE t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND
         EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
),

attribute AS (
  SELECT a.*, r.called, format('%s.%I', r.called, a.attname) AS named, d.adbin,
         row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS place
    FROM relation AS r
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
),

trait (kind, object, trait, value) AS (
  -- The cast decides for the whole union: a name would cut every value to 63 bytes.
  SELECT kind, object, 'owner', pg_get_userbyid(owner)::text FROM owned
  UNION ALL
  SELECT o.kind, o.object, 'rights', r.rights
    FROM owned AS o CROSS JOIN LATERAL (:rights FROM aclexplode(coalesce(o.acl, o.defaults)) AS x) AS r (rights)
  UNION ALL
  SELECT 'table', called, 'storage', concat_ws(' ', CASE relpersistence WHEN 'p' THEN 'permanent' ELSE 'unlogged' END,
           CASE relkind WHEN 'p' THEN 'partitioned' END, reloptions::text,
           CASE WHEN relrowsecurity THEN 'row security' END, CASE WHEN relforcerowsecurity THEN 'forced' END)
    FROM relation WHERE relkind IN ('r', 'p')
  UNION ALL
  SELECT 'view', called, 'definition', concat_ws(' ', reloptions::text, pg_get_viewdef(oid))
    FROM relation WHERE relkind IN ('v', 'm')
  UNION ALL
  SELECT 'sequence', r.called, 'definition',
         format('%s from %s by %s, %s to %s, cache %s%s', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement,
                s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN ', cycles' ELSE '' END)
    FROM relation AS r JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = r.oid
  UNION ALL
  SELECT 'column', named, v.trait, v.value FROM attribute AS a CROSS JOIN LATERAL (VALUES
    ('position', a.place::text),
    ('type', format_type(a.atttypid, a.atttypmod)),
    ('nullability', CASE WHEN a.attnotnull THEN 'NOT NULL' ELSE 'NULL' END),
    ('default', pg_get_expr(a.adbin, a.attrelid)),
    ('generation', nullif(a.attgenerated::text || a.attidentity::text, '')),
    ('collation', (SELECT quote_ident(l.collname) FROM pg_catalog.pg_collation AS l WHERE l.oid = a.attcollation)),
    ('storage', concat(a.attstorage::text, a.attcompression::text)),
    ('rights', (:rights FROM aclexplode(a.attacl) AS x))) AS v (trait, value)
  UNION ALL
  SELECT 'constraint', format('%s.%I', r.called, k.conname), 'definition',
         pg_get_constraintdef(k.oid) || CASE WHEN k.convalidated THEN '' ELSE ' (not validated)' END
    FROM pg_catalog.pg_constraint AS k JOIN relation AS r ON r.oid = k.conrelid
  UNION ALL
  -- A foreign key is kept by triggers of the server's own, which can be switched off like any other.
  SELECT 'constraint', format('%s.%I', r.called, k.conname), 'enforcement',
         string_agg(DISTINCT g.tgenabled::text, '' ORDER BY g.tgenabled::text)
    FROM pg_catalog.pg_constraint AS k
    JOIN relation AS r ON r.oid = k.conrelid
    JOIN pg_catalog.pg_trigger AS g ON g.tgconstraint = k.oid
   GROUP BY r.called, k.conname
  UNION ALL
  SELECT 'index', r.called, v.trait, v.value
    FROM relation AS r JOIN pg_catalog.pg_index AS i ON i.indexrelid = r.oid
   CROSS JOIN LATERAL (VALUES ('definition', pg_get_indexdef(r.oid)),
     ('validity', CASE WHEN i.indisvalid AND i.indisready THEN 'valid' ELSE 'invalid' END)) AS v (trait, value)
  UNION ALL
  SELECT 'trigger', format('%s.%I', r.called, g.tgname), v.trait, v.value
    FROM pg_catalog.pg_trigger AS g JOIN relation AS r ON r.oid = g.tgrelid AND NOT g.tgisinternal
   CROSS JOIN LATERAL (VALUES ('definition', pg_get_triggerdef(g.oid)),
     ('firing', CASE g.tgenabled WHEN 'A' THEN 'always' WHEN 'O' THEN 'origin' WHEN 'R' THEN 'replica' ELSE 'off' END)
   ) AS v (trait, value)
  UNION ALL
  SELECT 'rule', format('%s.%I', r.called, w.rulename), 'definition', pg_get_ruledef(w.oid) || ' ' || w.ev_enabled::text
    FROM pg_catalog.pg_rewrite AS w JOIN relation AS r ON r.oid = w.ev_class WHERE r.relkind NOT IN ('v', 'm')
  UNION ALL
  SELECT 'policy', format('%s.%I', r.called, y.polname), 'definition',
         concat_ws(' ', y.polcmd, CASE WHEN y.polpermissive THEN 'permissive' ELSE 'restrictive' END,
                   (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(role) END, ', ' ORDER BY role)
                      FROM unnest(y.polroles) AS role),
                   'USING ' || pg_get_expr(y.polqual, y.polrelid), 'CHECK ' || pg_get_expr(y.polwithcheck, y.polrelid))
    FROM pg_catalog.pg_policy AS y JOIN relation AS r ON r.oid = y.polrelid
  UNION ALL
  SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), 'definition', pg_get_statisticsobjdef(s.oid)
    FROM pg_catalog.pg_statistic_ext AS s JOIN space AS n ON n.oid = s.stxnamespace
  UNION ALL
  SELECT 'function', format('%I.%s(%s)', n.nspname, quote_ident(p.proname), pg_get_function_identity_arguments(p.oid)),
         'definition', CASE WHEN p.prokind = 'a' THEN 'aggregate'
                            ELSE encode(sha256(convert_to(pg_get_functiondef(p.oid), 'UTF8')), 'hex') END
    FROM pg_catalog.pg_proc AS p JOIN space AS n ON n.oid = p.pronamespace
  UNION ALL
  SELECT 'type', format('%I.%I', n.nspname, t.typname), 'values',
         (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
            FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t.oid)
    FROM pg_catalog.pg_type AS t JOIN space AS n ON n.oid = t.typnamespace WHERE t.typtype = 'e'
  UNION ALL
  SELECT 'type', format('%I.%I', n.nspname, t.typname), 'definition',
         concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'NOT NULL' END,
           'DEFAULT ' || t.typdefault, (SELECT string_agg(format('%I %s', k.conname, pg_get_constraintdef(k.oid)), ' '
             ORDER BY k.conname) FROM pg_catalog.pg_constraint AS k WHERE k.contypid = t.oid))
    FROM pg_catalog.pg_type AS t JOIN space AS n ON n.oid = t.typnamespace WHERE t.typtype = 'd'
  UNION ALL
  SELECT relation_kind, called, 'comment', obj_description(oid, 'pg_class')
    FROM relation WHERE relkind IN ('r', 'p', 'i', 'I', 'S', 'v', 'm')
  UNION ALL
  SELECT 'column', named, 'comment', col_description(attrelid, attnum) FROM attribute
  UNION ALL
  SELECT 'schema', quote_ident(nspname), 'comment', obj_description(oid, 'pg_namespace') FROM space
)

SELECT kind, object, trait, value FROM trait WHERE value IS NOT NULL
"""
