"""
Each way round "append-only" that is known, tried, and judged by the rows that are there afterwards.

As the app; as the owner; and as a superuser under `session_replication_role = replica`. On filled tables and on empty
ones, where a trigger for rows would never fire. What a superuser can do with DDL is out of reach of any schema; verify
names it afterwards (`tests/contract/planted`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from tests.contract.catalogue import Session
from tests.contract.components import standing, undone
from tests.contract.samples import filling
from tests.postgres import Database, Server

NOBODY = "00000000-0000-0000-0000-0000000000ff"


@dataclass(frozen=True)
class History:
    """
    An append-only table.

    + parent, key: what its rows belong to, and by which column
    + text: a column of words
    + row: columns and values of one more row, as the app may write it
    + server_time: the column that only the server fills
    """

    table: str
    parent: str
    key: str
    text: str
    row: str
    server_time: str

    def __str__(self) -> str:
        return self.table


HISTORIES = [
    History(
        "control_plane.task_checkpoint", "control_plane.task_run", "task_run_id", "summary",
        """(task_run_id, checkpoint_kind, sequence_no, summary, created_by)
           SELECT id, 'task_end', 2, 'Done.', 'cousin' FROM control_plane.task_run""",
        "created_at",
    ),
    History(
        "control_plane.memory_procedure_version", "control_plane.memory_procedure", "procedure_id", "title",
        """(procedure_id, version_no, title, trigger_text, steps, content_hash, change_reason, created_by)
           SELECT id, 2, 't', 'w', '["s"]', repeat('cd', 32), 'More.', 'cousin' FROM control_plane.memory_procedure""",
        "created_at",
    ),
    History(
        "control_plane.memory_procedure_event", "control_plane.memory_procedure", "procedure_id", "actor",
        """(procedure_id, event_type, actor)
           SELECT id, 'applied', 'cousin' FROM control_plane.memory_procedure""",
        "occurred_at",
    ),
    History(
        "knowledge.review_events", "knowledge.knowledge_nodes", "memory_id", "new_state",
        """(memory_id, rating, prior_state, new_state)
           SELECT id, 4, '{}', '{}' FROM knowledge.knowledge_nodes WHERE tags = '{gate}'""",
        "timestamp",
    ),
]  # fmt: skip

# What changes rows, if a role has the right to try. {t} the table, {p} its parent, {k} the key, {x} the text column.
DML = {
    "update": "UPDATE {t} SET {k} = {k}",
    "update of no row": "UPDATE {t} SET {k} = {k} WHERE false",
    "delete": "DELETE FROM {t}",
    "delete of no row": "DELETE FROM {t} WHERE false",
    "upsert": "INSERT INTO {t} SELECT * FROM {t} ON CONFLICT (id) DO UPDATE SET {k} = excluded.{k}",
    "merge that updates": "MERGE INTO {t} AS a USING {t} AS b ON a.id = b.id WHEN MATCHED THEN UPDATE SET {k} = b.{k}",
    "merge that deletes": "MERGE INTO {t} AS a USING {t} AS b ON a.id = b.id WHEN MATCHED THEN DELETE",
    "a common table expression": "WITH gone AS (DELETE FROM {t} RETURNING *) SELECT count(*) FROM gone",
    "truncate": "TRUNCATE {t}",
    "truncate with its sequence": "TRUNCATE {t} RESTART IDENTITY CASCADE",
    "truncate of the parent": "TRUNCATE {p} CASCADE",
    "truncate of both": "TRUNCATE {p}, {t} CASCADE",
}
# What takes away the ground under rows: refused while there are any.
PARENTS = {
    "delete of the parent": "DELETE FROM {p} WHERE id IN (SELECT {k} FROM {t})",
    "another key for the parent": "UPDATE {p} SET id = gen_random_uuid() WHERE id IN (SELECT {k} FROM {t})",
    "merge that deletes the parent": "MERGE INTO {p} AS a USING {t} AS b ON a.id = b.{k} WHEN MATCHED THEN DELETE",
}
# What only the app tries: it has no right to any of it.
RIGHTS = {
    "a hatch in a setting": "SET pgberth.allow = 'on'; SET memory.append_only = off; UPDATE {t} SET {k} = {k}",
    "replica role": "SET session_replication_role = replica",
    "disabled trigger": "ALTER TABLE {t} DISABLE TRIGGER append_only",
    "disabled triggers": "ALTER TABLE {t} DISABLE TRIGGER ALL",
    "dropped trigger": "DROP TRIGGER append_only ON {t}",
    "another trigger": """CREATE TRIGGER lose BEFORE INSERT ON {t} FOR EACH ROW
                          EXECUTE FUNCTION suppress_redundant_updates_trigger()""",
    "rule": "CREATE RULE lose AS ON INSERT TO {t} DO INSTEAD NOTHING",
    "rewritten column": "ALTER TABLE {t} ALTER {x} TYPE text USING 'x'",
    "dropped column": "ALTER TABLE {t} DROP {x}",
    "dropped table": "DROP TABLE {t} CASCADE",
    "dropped schema": "DROP SCHEMA control_plane, knowledge CASCADE",
    "what the owner owns": "DROP OWNED BY memory_owner CASCADE",
    "what the owner owns, given away": "REASSIGN OWNED BY memory_owner TO memory_app_a",
    "dropped extension": "DROP EXTENSION vector CASCADE",
    "child table": "CREATE TABLE knowledge.child () INHERITS ({t})",
    "temporary child table": "CREATE TEMP TABLE child () INHERITS ({t})",
    "row level security": "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY",
    "lock of a row": "SELECT * FROM {t} FOR UPDATE",
    "lock of a key": "SELECT * FROM {t} FOR KEY SHARE",
    "lock of the table": "DO $$ BEGIN LOCK TABLE {t} IN ROW EXCLUSIVE MODE; END $$",
    "chosen id": "INSERT INTO {t} (id) SELECT id FROM {t}",
    "chosen time": "INSERT INTO {t} ({s}) VALUES ('2001-01-01')",
    "copy with an id": "COPY {t} (id) FROM STDIN",
    "copy of everything": "COPY {t} FROM STDIN",
    "replaced function": """CREATE OR REPLACE FUNCTION control_plane.refuse_change() RETURNS trigger
                            LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'""",
    "becoming the owner": "SET ROLE memory_owner",
    "becoming the migrator": "SET SESSION AUTHORIZATION memory_migrator",
    "joining the owner": "GRANT memory_owner TO memory_app_a",
    "sequence turned back": "SELECT setval('knowledge.review_events_id_seq', 1)",
    "replica role for everybody": "ALTER SYSTEM SET session_replication_role = replica",
}


@pytest.fixture(scope="module", params=["filled", "empty"])
def tenant(request: pytest.FixtureRequest, postgres18: Server) -> Iterator[Database]:
    with standing(postgres18, "control_plane", "knowledge") as database:
        if request.param == "filled":
            app = database.connect("memory_app_a")
            app.execute(filling("control_plane"))
            app.execute(filling("knowledge"))
        yield database


@pytest.fixture(scope="module")
def superuser(tenant: Database) -> Session:
    return tenant.connect("postgres")


@pytest.fixture(scope="module")
def app(tenant: Database) -> Session:
    return tenant.connect("memory_app_a")


@pytest.fixture(scope="module")
def owner(tenant: Database) -> Session:
    return tenant.connect("memory_owner")


def spelled(statement: str, history: History) -> bytes:
    places = {"t": history.table, "p": history.parent, "k": history.key, "x": history.text, "s": history.server_time}
    return statement.format(**places).encode()


def rows(superuser: Session) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every history and of what it belongs to; text, so that a change of type shows as well."""
    tables = {history.table for history in HISTORIES} | {history.parent for history in HISTORIES}
    return {
        table: superuser.execute(f"SELECT r::text FROM {table} AS r ORDER BY 1".encode()).fetchall()
        for table in sorted(tables)
    }


@pytest.mark.parametrize("history", HISTORIES, ids=str)
@pytest.mark.parametrize("attack", [*DML, *RIGHTS])
def test_the_app_is_refused_and_every_row_is_as_it_was(
    superuser: Session, app: Session, attack: str, history: History
) -> None:
    before = rows(superuser)
    with pytest.raises(psycopg.Error) as refused:
        app.execute(spelled((DML | RIGHTS)[attack], history))
    app.execute("RESET ALL")
    assert refused.value.sqlstate == "42501", refused.value
    assert rows(superuser) == before


@pytest.mark.parametrize("history", HISTORIES, ids=str)
@pytest.mark.parametrize("attack", DML)
def test_the_owner_is_refused_by_the_triggers(
    superuser: Session, owner: Session, attack: str, history: History
) -> None:
    before = rows(superuser)
    refused_by_trigger(owner, DML[attack], history)
    assert rows(superuser) == before


@pytest.mark.parametrize("history", HISTORIES, ids=str)
@pytest.mark.parametrize("attack", DML)
def test_a_superuser_as_a_replica_is_refused_by_the_triggers(
    tenant: Database, superuser: Session, attack: str, history: History
) -> None:
    before = rows(superuser)
    refused_by_trigger(as_a_replica(tenant), DML[attack], history)
    assert rows(superuser) == before


@pytest.mark.parametrize("role", ["memory_app_a", "memory_owner", "replica"])
@pytest.mark.parametrize("history", HISTORIES, ids=str)
@pytest.mark.parametrize("attack", PARENTS)
def test_what_a_history_is_about_stays(
    tenant: Database, superuser: Session, attack: str, history: History, role: str
) -> None:
    before = rows(superuser)
    session = as_a_replica(tenant) if role == "replica" else tenant.connect(role)
    try:
        with undone(session):
            session.execute(spelled(PARENTS[attack], history))
    except psycopg.Error as refused:
        assert refused.sqlstate in ("23001", "42501"), refused
    else:
        assert before[history.table] == [], f"{attack} went through"
    session.close()
    assert rows(superuser) == before


def as_a_replica(tenant: Database) -> Session:
    session = tenant.connect("postgres")
    session.execute("SET session_replication_role = replica")
    return session


def refused_by_trigger(session: Session, statement: str, history: History) -> None:
    with pytest.raises(psycopg.Error) as refused:
        session.execute(spelled(statement, history))
    diagnostics = refused.value.diag
    if diagnostics.sqlstate == "0A000":  # the server itself truncates no table alone that another refers to
        assert "referenced in a foreign key" in (diagnostics.message_primary or "")
        return
    assert diagnostics.sqlstate == "23001", refused.value
    assert "is append-only" in (diagnostics.message_primary or "")
    assert "runbooks/append-only-refused.md" in (diagnostics.message_hint or "")


@pytest.mark.parametrize("history", HISTORIES, ids=str)
def test_the_app_appends_and_the_server_says_when(tenant: Database, app: Session, history: History) -> None:
    insert = (
        f"INSERT INTO {history.table} {history.row} ON CONFLICT DO NOTHING RETURNING id, {history.server_time} = now()"
    )
    with undone(app):
        added = app.execute(insert.encode()).fetchall()
        app.execute(insert.encode())
    parents = tenant.connect("memory_app_a").execute(f"SELECT count(*) FROM {history.parent}".encode()).fetchone()
    assert [at_once for _, at_once in added] == ([True] if parents != (0,) else [])


@pytest.mark.parametrize("history", HISTORIES, ids=str)
def test_a_right_that_the_app_gives_itself_is_none(superuser: Session, app: Session, history: History) -> None:
    app.execute(spelled("GRANT UPDATE, DELETE, TRUNCATE ON {t} TO memory_app_a", history))  # a warning, no error
    rights = "SELECT has_table_privilege('memory_app_a', %s, 'UPDATE, DELETE, TRUNCATE')"
    assert superuser.execute(rights, [history.table]).fetchone() == (False,)


@pytest.mark.parametrize("history", HISTORIES, ids=str)
def test_what_the_app_may_insert_leaves_id_and_time_to_the_server(superuser: Session, history: History) -> None:
    rights = """SELECT has_table_privilege('memory_app', c.oid, 'INSERT'),
                       has_any_column_privilege('memory_app', c.oid, 'INSERT'),
                       array_agg(a.attname::text) FILTER (
                         WHERE NOT has_column_privilege('memory_app', c.oid, a.attnum, 'INSERT'))
                  FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
                 WHERE c.oid = %s::regclass GROUP BY c.oid"""
    assert superuser.execute(rights, [history.table]).fetchone() == (False, True, ["id", history.server_time])


def test_no_foreign_key_takes_a_history_along(superuser: Session) -> None:
    reaching = """SELECT conrelid::regclass::text, conname FROM pg_constraint
                  WHERE contype = 'f' AND conrelid = ANY (%s::regclass[])
                    AND (confdeltype NOT IN ('r', 'a') OR confupdtype NOT IN ('r', 'a'))"""
    assert superuser.execute(reaching, [[history.table for history in HISTORIES]]).fetchall() == []


def test_copy_without_an_id_works(tenant: Database, app: Session, superuser: Session) -> None:
    run = superuser.execute("SELECT id FROM control_plane.task_run").fetchone()
    if run is None:
        return
    columns = "(task_run_id, checkpoint_kind, sequence_no, summary, created_by)"
    with undone(app), app.cursor() as cursor:
        with cursor.copy(f"COPY control_plane.task_checkpoint {columns} FROM STDIN".encode()) as copy:
            copy.write_row((run[0], "task_end", 50, "Copied.", "cousin"))
        assert app.execute("SELECT count(*) FROM control_plane.task_checkpoint").fetchone() == (2,)


def test_a_node_that_nobody_reviewed_can_be_deleted(app: Session) -> None:
    with undone(app):
        app.execute("INSERT INTO knowledge.knowledge_nodes (content) VALUES ('Nobody reviewed this either.')")
        gone = app.execute("DELETE FROM knowledge.knowledge_nodes WHERE content = 'Nobody reviewed this either.'")
        assert gone.rowcount == 1


def test_the_migrator_alone_can_become_the_owner(superuser: Session) -> None:
    members = """SELECT m.member::regrole::text FROM pg_auth_members AS m WHERE m.roleid = 'memory_owner'::regrole"""
    assert superuser.execute(members).fetchall() == [("memory_migrator",)]
