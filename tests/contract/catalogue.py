"""
What a component's schema must be, and what it is, as equal values where all is well.

Types, defaults, constraints and indexes are the server's own words, less line breaks and schema names, which depend on
the reader's search_path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import yaml

Session = psycopg.Connection[Any]
Schema = dict[str, Any]

_COLUMNS = """
SELECT t.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), a.attgenerated = 's'
  FROM pg_class AS t
  JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef AS d ON d.adrelid = t.oid AND d.adnum = a.attnum
 WHERE t.relnamespace = to_regnamespace(%s) AND t.relkind IN ('r', 'p') ORDER BY t.oid, a.attnum
"""
_CONSTRAINTS = """
SELECT t.relname, c.conname, pg_get_constraintdef(c.oid)
  FROM pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid
 WHERE t.relnamespace = to_regnamespace(%s) AND c.contype <> 'n'
"""
_INDEXES = """
SELECT t.relname, c.relname, pg_get_indexdef(c.oid)
  FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid
 WHERE t.relnamespace = to_regnamespace(%s) AND i.indisvalid
   AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u'))
"""
_TRIGGERS = """
SELECT t.relname, g.tgname,
       pg_get_triggerdef(g.oid) || CASE g.tgenabled WHEN 'A' THEN ' ALWAYS' WHEN 'O' THEN '' ELSE ' DISABLED' END
  FROM pg_trigger AS g JOIN pg_class AS t ON t.oid = g.tgrelid
 WHERE t.relnamespace = to_regnamespace(%s) AND NOT g.tgisinternal
"""
_ENUMS = """
SELECT t.typname, array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
  FROM pg_type AS t JOIN pg_enum AS e ON e.enumtypid = t.oid
 WHERE t.typnamespace = to_regnamespace(%s) GROUP BY t.typname
"""


def contract(component: str) -> Schema:
    """`parameters` the component is to be applied with, `enums`, and `tables` with all that is in them."""
    text = Path(__file__).with_name(f"{component}.yaml").read_text("utf-8")
    desired: Schema = yaml.safe_load(text)
    for table in desired["tables"].values():
        for column in table["columns"].values():
            column.setdefault("nullable", False)
        for kind in ("constraints", "indexes", "triggers"):
            table[kind] = {name: _words(text) for name, text in table.get(kind, {}).items()}
    return desired


def live(session: Session, schema: str) -> Schema:
    """`enums` and `tables` as the catalogue has them."""

    def ask(query: LiteralString) -> list[Any]:
        return session.execute(query, [schema]).fetchall()

    tables: Schema = {}
    for table, name, kind, nullable, fallback, generated in ask(_COLUMNS):
        column = {"type": _plain(kind, schema), "nullable": nullable}
        if fallback is not None:
            column["generated" if generated else "default"] = _plain(fallback, schema)
        made = tables.setdefault(table, {"columns": {}, "constraints": {}, "indexes": {}, "triggers": {}})
        made["columns"][name] = column
    for table, name, definition in ask(_CONSTRAINTS):
        tables[table]["constraints"][name] = _plain(definition, schema)
    for table, name, definition in ask(_INDEXES):
        tables[table]["indexes"][name] = re.sub(r"INDEX \S+ ON \S+ ", "INDEX ", _plain(definition, schema))
    for table, name, definition in ask(_TRIGGERS):
        tables[table]["triggers"][name] = re.sub(r"^CREATE TRIGGER \S+ (.*?) ON \S+", r"\1", _plain(definition, schema))
    return {"enums": dict(ask(_ENUMS)), "tables": tables}


def orders(schema: Schema) -> dict[str, list[str]]:
    """The columns of each table in their order, which equality of mappings does not look at."""
    return {name: list(table["columns"]) for name, table in schema["tables"].items()}


def _plain(text: str, schema: str) -> str:
    return _words(text.replace(f"{schema}.", "").replace("public.", ""))


def _words(text: str) -> str:
    return " ".join(text.split())
