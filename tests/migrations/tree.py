"""A small component for tests: schema, table, an index built concurrently, grants and a trigger."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.postgres import Database

SCHEMA = {
    "up": "CREATE SCHEMA notes AUTHORIZATION {{ owner | ident }};\nGRANT USAGE ON SCHEMA notes TO {{ app | ident }};\n",
    "down": "DROP SCHEMA notes RESTRICT;\n",
    "verify": "SELECT 'schema', 'notes', 'is missing' WHERE pg_catalog.to_regnamespace('notes') IS NULL;\n",
}
TABLE = {
    "up": """-- 0001 notes.
CREATE TABLE notes.note (
  id   bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT note_pk PRIMARY KEY,
  body text   NOT NULL
);

CREATE INDEX note_body ON notes.note USING btree (body);
""",
    "down": """DO $$ BEGIN
  IF EXISTS (SELECT FROM notes.note) THEN
    RAISE EXCEPTION 'notes.note holds rows; 0001 is not reversible' USING HINT = 'Restore a backup.';
  END IF;
END $$;
DROP TABLE notes.note RESTRICT;
DROP FUNCTION IF EXISTS notes.refuse();
""",
    "verify": """SELECT 'table', 'notes.note', 'is missing' WHERE pg_catalog.to_regclass('notes.note') IS NULL
UNION ALL
SELECT 'column', 'notes.note.body', 'is missing' WHERE NOT EXISTS (
  SELECT FROM pg_catalog.pg_attribute
   WHERE attrelid = pg_catalog.to_regclass('notes.note') AND attname = 'body' AND NOT attisdropped)
UNION ALL
SELECT 'index', 'notes.note_body', 'is missing or invalid' WHERE NOT EXISTS (
  SELECT FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass('notes.note_body') AND indisvalid);
-- nothing else
""",
}
INDEX = {
    "up": """-- pgberth: no-transaction
-- 0002 notes by length; the table may be big by then.
CREATE INDEX CONCURRENTLY note_length ON notes.note USING btree (length(body));
""",
    "down": "DROP INDEX notes.note_length RESTRICT;\n",
    "verify": """SELECT 'index', 'notes.note_length', 'is missing or invalid' WHERE NOT EXISTS (
  SELECT FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass('notes.note_length') AND indisvalid)""",
}
GRANTS = {
    "up": "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA notes TO {{ app | ident }};\n",
    "verify": """SELECT 'grant', 'notes.note', 'lacks INSERT for ' || {{ app | literal }}
 WHERE NOT coalesce(
   pg_catalog.has_table_privilege({{ app | literal }}, pg_catalog.to_regclass('notes.note')::oid, 'INSERT'), false)""",
}
TRIGGER = {
    "up": """CREATE OR REPLACE FUNCTION notes.refuse() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE EXCEPTION 'append-only; not even this';
END $$;
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON notes.note
  FOR EACH STATEMENT EXECUTE FUNCTION notes.refuse();
ALTER TABLE notes.note ENABLE ALWAYS TRIGGER append_only;
""",
    "verify": """SELECT 'trigger', 'notes.note.append_only', 'is missing or not ALWAYS' WHERE NOT EXISTS (
  SELECT FROM pg_catalog.pg_trigger
   WHERE tgrelid = pg_catalog.to_regclass('notes.note') AND tgname = 'append_only' AND tgenabled = 'A')""",
}


@dataclass(frozen=True)
class Tree:
    """A directory of components, to be written to and edited."""

    root: Path
    component: str = "notes"

    def write(self, step: str, *, component: str | None = None, **scripts: str) -> Tree:
        """Write the scripts (up=..., down=..., verify=...) of a step such as "0001_table"."""
        directory = self.root / (component or self.component)
        directory.mkdir(parents=True, exist_ok=True)
        for script, text in scripts.items():
            (directory / f"{step}.{script}.sql.j2").write_text(text)
        return self

    def path(self, file: str) -> Path:
        return self.root / self.component / file

    def remove(self, step: str) -> Tree:
        for path in (self.root / self.component).glob(f"{step}.*"):
            path.unlink()
        return self

    def rename(self, step: str, to: str) -> Tree:
        for path in (self.root / self.component).glob(f"{step}.*"):
            path.rename(path.with_name(path.name.replace(step, to)))
        return self


def notes(root: Path) -> Tree:
    """The component `notes`, five steps."""
    tree = Tree(root)
    tree.write("0000_schema", **SCHEMA)
    tree.write("0001_table", **TABLE)
    tree.write("0002_index", **INDEX)
    tree.write("R0_grants", **GRANTS)
    tree.write("R1_trigger", **TRIGGER)
    return tree


def dump(database: Database) -> str:
    """pg_dump's own words for everything but the ledger; equal for equal schemas."""
    command = [
        str(database.server.bin / "pg_dump"), "--schema-only",
        "--restrict-key=pgberth", "--exclude-schema=memory_ledger",
        f"--dbname={database.conninfo('postgres')}",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
