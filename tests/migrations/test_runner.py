"""The runner: up, down, staged, recorded, and clear about what it will not do."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

import psycopg
import pytest

from pgberth.migrations import ledger, runner
from pgberth.migrations.ledger import Connection
from pgberth.migrations.plan import plan_up
from pgberth.migrations.session import Connect
from pgberth.migrations.verify import findings, verify_sql
from pgberth.model.problems import Refused
from tests.migrations.conftest import HASTY
from tests.migrations.tree import INDEX, TABLE, Tree, dump
from tests.postgres import Database

ALL = ["0000", "0001", "0002", "R0_grants", "R1_trigger"]


def done(outcome: runner.Outcome) -> list[str]:
    return [migration.version for migration in outcome.done]


def heads(database: Database) -> tuple[ledger.Head, ...]:
    """As the probe reads them: through psql."""
    (line,) = psql(database, "memory_monitor", ledger.heads_script()).stdout.splitlines()
    return ledger.heads_of(json.loads(line)["ledger"])


def psql(database: Database, user: str, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """As templates/container/psql.sh runs it."""
    command = [str(database.server.bin / "psql"), "-XAtq", *options, "-f", "-", database.conninfo(user)]
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False)


def states(database: Database) -> dict[str, str]:
    return {head.version: head.state for head in heads(database)}


def events(database: Database, columns: str = "version, state") -> list[tuple[Any, ...]]:
    query = f"SELECT {columns} FROM memory_ledger.event ORDER BY id"
    return database.connect("postgres").execute(query.encode()).fetchall()


def refusal(work: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        work()
    (problem,) = refused.value.problems
    return problem.fact, problem.hint


def test_up_applies_every_step_once_and_in_order(database: Database, connect: Connect, tree: Tree) -> None:
    assert done(runner.apply(connect, "notes", root=tree.root)) == ALL
    assert states(database) == dict.fromkeys(ALL, "applied")
    assert events(database) == [
        *((version, state) for version in ALL[:3] for state in ("started", "applied")),
        *((version, state) for state in ("started", "applied") for version in ALL[3:]),
    ]


def test_up_again_does_nothing_and_records_nothing(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    before = (dump(database), events(database))
    for _ in range(3):
        assert done(runner.apply(connect, "notes", root=tree.root)) == []
    assert (dump(database), events(database)) == before


def test_a_staged_run_stops_at_its_target_and_the_next_goes_on(connect: Connect, tree: Tree) -> None:
    outcome = runner.apply(connect, "notes", to="0001", root=tree.root)
    assert done(outcome) == ["0000", "0001"]
    assert [str(waiting) for waiting in outcome.waiting] == [
        "notes R0_grants waits for 0002",
        "notes R1_trigger waits for 0002",
    ]
    assert done(runner.apply(connect, "notes", root=tree.root)) == ["0002", "R0_grants", "R1_trigger"]


def test_up_down_to_zero_and_up_again_gives_the_same_schema(database: Database, connect: Connect, tree: Tree) -> None:
    empty = dump(database)
    runner.apply(connect, "notes", root=tree.root)
    full = dump(database)
    assert done(runner.revert(connect, "notes", "zero", root=tree.root)) == ["0002", "0001", "0000"]
    assert dump(database) == empty
    assert set(states(database).values()) == {"reverted"}
    assert done(runner.revert(connect, "notes", "zero", root=tree.root)) == []
    assert done(runner.apply(connect, "notes", root=tree.root)) == ALL
    assert dump(database) == full


@pytest.mark.parametrize("version", ["0000", "0001", "0002"])
def test_every_version_goes_up_down_and_up(database: Database, connect: Connect, tree: Tree, version: str) -> None:
    runner.apply(connect, "notes", to=version, root=tree.root)
    there = dump(database)
    below = {"0000": "zero", "0001": "0000", "0002": "0001"}[version]
    assert done(runner.revert(connect, "notes", below, root=tree.root)) == [version]
    assert dump(database) != there
    assert version in done(runner.apply(connect, "notes", to=version, root=tree.root))
    assert dump(database) == there


def test_down_over_rows_refuses_and_changes_nothing(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    database.connect("memory_app_a").execute("INSERT INTO notes.note (body) VALUES ('kept')")
    runner.revert(connect, "notes", "0001", root=tree.root)
    before = dump(database)
    fact, hint = refusal(lambda: runner.revert(connect, "notes", "zero", root=tree.root))
    assert fact == "notes 0001_table: notes.note holds rows; 0001 is not reversible"
    assert hint == "Restore a backup."
    assert dump(database) == before
    assert states(database)["0001"] == "applied"
    assert events(database)[-1] == ("0001", "failed")
    assert database.connect("memory_app_a").execute("SELECT body FROM notes.note").fetchall() == [("kept",)]


def test_a_step_that_fails_leaves_nothing_of_itself_and_everything_before_it(
    database: Database, connect: Connect, tree: Tree
) -> None:
    tree.write("0001_table", up=TABLE["up"] + "\nSELECT 1;\nSELECT nonsense;\n")
    fact, hint = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    assert fact == 'notes 0001_table: column "nonsense" does not exist (line 10 of its up file, rendered)'
    assert hint == "This step left nothing behind; the steps before it are done."
    assert states(database) == {"0000": "applied"}
    assert events(database, "version, state, note")[-1] == ("0001", "failed", '42703 column "nonsense" does not exist')
    assert "note" not in dump(database).replace("notes", "")
    tree.write("0001_table", up=TABLE["up"])
    assert done(runner.apply(connect, "notes", root=tree.root)) == ALL[1:]


def test_no_moment_is_seen_between_one_repeatable_and_the_next(
    database: Database, connect: Connect, tree: Tree
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    tree.write("R0_grants", up="REVOKE ALL ON notes.note FROM {{ app | ident }}; SELECT pg_catalog.pg_sleep(0.3);")
    tree.write("R0_grants", verify="SELECT 1, 2, 3 WHERE false")
    tree.write("R1_trigger", up="GRANT SELECT, INSERT ON notes.note TO {{ app | ident }};")
    again = threading.Thread(target=runner.apply, args=(connect, "notes"), kwargs={"root": tree.root})
    again.start()
    app = database.connect("memory_app_a")
    reads = 0
    while again.is_alive():
        app.execute("SELECT FROM notes.note")
        reads += 1
    again.join()
    assert reads > 10
    assert events(database)[-1] == ("R1_trigger", "applied")


def test_repeatables_are_applied_together_or_not_at_all(database: Database, connect: Connect, tree: Tree) -> None:
    tree.write("R1_trigger", up="SELECT 1;\nSELECT nonsense;")
    fact, _ = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    assert fact == 'notes R1_trigger: column "nonsense" does not exist (line 2 of its up file, rendered)'
    assert states(database) == dict.fromkeys(ALL[:3], "applied")
    assert events(database)[-1] == ("R1_trigger", "failed")
    assert "GRANT SELECT,INSERT ON TABLE notes.note" not in dump(database)


def test_the_line_is_right_in_a_file_without_transaction_too(connect: Connect, tree: Tree) -> None:
    tree.write("0002_index", up="-- pgberth: no-transaction\nSELECT 1;\n\nSELECT\n  nonsense;\n")
    fact, _ = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    assert fact == 'notes 0002_index: column "nonsense" does not exist (line 5 of its up file, rendered)'


def test_a_step_whose_verify_file_finds_something_is_rolled_back(
    database: Database, connect: Connect, tree: Tree
) -> None:
    tree.write("0001_table", up=TABLE["up"].replace("CREATE INDEX", "-- CREATE INDEX"))
    fact, _ = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    assert fact == "notes 0001: index notes.note_body is missing or invalid"
    assert states(database) == {"0000": "applied"}
    assert database.connect("postgres").execute("SELECT to_regclass('notes.note')").fetchone() == (None,)


def test_an_edited_file_stops_the_run_with_both_hashes_and_the_difference(
    database: Database, connect: Connect, tree: Tree
) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    before = (dump(database), events(database))
    tree.write("0001_table", up=TABLE["up"].replace("-- 0001 notes.", "-- 0001 edited."))
    fact, hint = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    applied = next(head.rendered_sha256 for head in heads(database) if head.version == "0001")
    assert f"sha256 {applied} is applied" in fact
    assert "-- 0001 notes.\n+-- 0001 edited." in hint
    assert (dump(database), events(database)) == before


def test_a_schema_that_was_there_before_is_not_taken_over(database: Database, connect: Connect, tree: Tree) -> None:
    database.connect("postgres").execute("CREATE SCHEMA notes")
    fact, hint = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    assert fact == 'notes 0000_schema: schema "notes" already exists'
    assert hint == (
        "It exists, and the ledger does not know it; pgberth takes over nothing that it did not make.\n"
        "It is exactly as this migration would make it."
    )
    assert states(database) == {}


def test_a_table_that_exists_but_differs_is_named_with_its_differences(
    database: Database, connect: Connect, tree: Tree
) -> None:
    runner.apply(connect, "notes", to="0000", root=tree.root)
    database.connect("memory_owner").execute("CREATE TABLE notes.note (id bigint)")
    _, hint = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    assert "notes 0001: column notes.note.body is missing" in hint.splitlines()
    assert "notes 0001: index notes.note_body is missing or invalid" in hint.splitlines()


def test_a_foreign_schema_of_the_ledgers_name_is_not_trusted(database: Database, connect: Connect, tree: Tree) -> None:
    database.connect("postgres").execute("CREATE SCHEMA memory_ledger")
    fact, _ = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    assert fact == "schema memory_ledger exists, owned by postgres, without a ledger in it"


def test_a_login_that_may_not_become_the_owner_is_refused(database: Database, tree: Tree) -> None:
    fact, _ = refusal(
        lambda: runner.apply(lambda: database.server.connect("memory_app_a", database.name), "notes", root=tree.root)
    )
    assert fact.startswith("memory_app_a cannot act as memory_owner: ")


def test_everything_made_belongs_to_the_owner(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    owners = database.connect("postgres").execute(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace IN"
        " ('notes'::regnamespace, 'memory_ledger'::regnamespace)"
    )
    assert owners.fetchall() == [("memory_owner",)]


PLAIN_INDEX = "CREATE INDEX note_length ON notes.note USING btree (length(body));\n"


@pytest.mark.parametrize("rows", [0, 5])
@pytest.mark.parametrize("up", [INDEX["up"], PLAIN_INDEX], ids=["asked for", "not asked for"])
def test_an_index_is_built_concurrently_only_where_there_are_rows(
    database: Database, connect: Connect, tree: Tree, rows: int, up: str
) -> None:
    tree.write("0002_index", up=up)
    runner.apply(connect, "notes", to="0001", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute("INSERT INTO notes.note (body) SELECT n::text FROM generate_series(1, %s) AS n", [rows])
    # An old snapshot holds up a concurrent build for ever, and a plain one not at all.
    reader = database.connect("memory_monitor")
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.execute("SELECT 1")

    def with_limit() -> Connection:
        session = connect()
        session.execute("SET statement_timeout = 0")
        return session

    if rows:
        database.connect("postgres").execute("ALTER ROLE memory_migrator SET transaction_timeout = 300")
        try:
            fact, _ = refusal(lambda: runner.apply(with_limit, "notes", root=tree.root))
        finally:
            database.connect("postgres").execute("ALTER ROLE memory_migrator RESET transaction_timeout")
        assert "transaction timeout" in fact
        reader.execute("ROLLBACK")
        assert states(database)["0002"] == "started"
    assert done(runner.apply(with_limit, "notes", root=tree.root)) == ALL[2:]
    assert states(database)["0002"] == "applied"


def test_an_index_name_taken_by_something_else_is_refused(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    database.connect("memory_owner").execute("CREATE TABLE notes.note_length ()")
    fact, _ = refusal(lambda: runner.apply(connect, "notes", root=tree.root))
    assert fact == "notes.note_length exists, and is not an index on notes.note"


def test_statements_of_a_file_without_transaction_are_sent_one_by_one(
    database: Database, connect: Connect, tree: Tree
) -> None:
    tree.write("0002_index", up=INDEX["up"] + "VACUUM notes.note;\n-- done\n")
    assert done(runner.apply(connect, "notes", root=tree.root)) == ALL
    row = database.connect("postgres").execute(
        "SELECT count(*) FROM pg_index WHERE indexrelid = 'notes.note_length'::regclass AND indisvalid"
    )
    assert row.fetchone() == (1,)


def register(size: int) -> Any:
    """A code step in the manner of register_model: it looks, and does what is missing."""

    def action(connection: Connection) -> bool:
        row = connection.execute("SELECT obj_description('notes.note'::regclass)").fetchone()
        if row == (str(size),):
            return False
        connection.execute(f"COMMENT ON TABLE notes.note IS '{size}'".encode())
        return True

    return action


def test_a_code_step_opens_the_stage_behind_it(database: Database, connect: Connect, tree: Tree) -> None:
    tree.write("0002_index", up="-- pgberth: gate=size\n" + INDEX["up"] + "-- {{ size | integer }}\n")
    outcome = runner.apply(connect, "notes", root=tree.root)
    assert done(outcome) == ["0000", "0001", "R0_grants", "R1_trigger"]
    assert [str(waiting) for waiting in outcome.waiting] == ["notes 0002_index waits for size"]

    def run(size: int) -> bool:
        return runner.run_code(connect, "notes", "register", {"size": size}, register(size), after=("0001",))

    assert run(768)
    assert not run(768)
    assert done(runner.apply(connect, "notes", root=tree.root)) == ["0002", "R0_grants", "R1_trigger"]
    assert refusal(lambda: run(1024))[0] == "notes register was done with size = 768, not with size = 1024"
    assert [event for event in events(database) if event[0] == "register"] == [
        ("register", "started"),
        ("register", "applied"),
    ]
    runner.revert(connect, "notes", "0000", root=tree.root)
    assert states(database)["register"] == "reverted"


def test_a_code_step_before_its_time_is_refused(connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", to="0000", root=tree.root)
    fact, _ = refusal(
        lambda: runner.run_code(connect, "notes", "register", {"size": 1}, register(1), after=("0000", "0001"))
    )
    assert fact == "notes register needs notes 0001, which is not applied"


def test_a_code_step_that_was_undone_by_hand_is_done_again(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    runner.run_code(connect, "notes", "register", {"size": 1}, register(1), after=("0001",))
    database.connect("memory_owner").execute("COMMENT ON TABLE notes.note IS NULL")
    assert runner.run_code(connect, "notes", "register", {"size": 1}, register(1), after=("0001",))


def test_a_code_step_that_fails_is_not_recorded_as_done(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)

    def action(connection: Connection) -> bool:
        connection.execute("COMMENT ON TABLE notes.note IS 'half'")
        raise Refused.because("no")

    assert refusal(lambda: runner.run_code(connect, "notes", "register", {}, action, after=()))[0] == "no"
    assert "register" not in states(database)
    assert "half" not in dump(database)


def test_heads_are_one_line_of_json_with_or_without_a_ledger(database: Database, connect: Connect, tree: Tree) -> None:
    assert heads(database) == ()
    tree.write("0003_odd", up="SELECT {{ odd | literal }};", down="SELECT 1;", verify="SELECT 'a','b','c' WHERE false")
    odd = "\"quoted\" <tag> & 'more' \\ ☃ " + "long " * 500
    runner.apply(connect, "notes", {"odd": odd}, root=tree.root)
    found = {head.version: head for head in heads(database)}
    assert found["0003"].parameters == {"odd": odd}
    assert found["R0_grants"].needs == ("0000", "0001", "0002", "0003")
    assert plan_up("notes", found.values(), {"odd": odd}, root=tree.root).steps == ()


@pytest.mark.parametrize("user", ["postgres", "memory_monitor"])
def test_heads_can_be_read_inside_a_read_only_transaction(
    database: Database, connect: Connect, tree: Tree, user: str
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    script = f"BEGIN READ ONLY;\n{ledger.heads_script()}\nCOMMIT;"
    done = psql(database, user, script, "-v", "ON_ERROR_STOP=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ledger"][0]["version"] == "0000"


EVIL = """
CREATE FUNCTION memory_ledger.evil(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_catalog.set_config('evil.ran_as', current_user, false);
  RETURN $1;
END $$;
ALTER TABLE memory_ledger.event RENAME TO kept;
"""
DISGUISES = {
    "a view": "CREATE VIEW memory_ledger.event AS"
    " SELECT id, memory_ledger.evil(component) AS component, version, ordinal, name, kind, state, template_sha256,"
    " rendered_sha256, parameters, needs FROM memory_ledger.kept",
    "an index on an expression": "CREATE TABLE memory_ledger.event AS SELECT * FROM memory_ledger.kept;"
    " CREATE INDEX ON memory_ledger.event (memory_ledger.evil('x'::text))",
    "a partial index": "CREATE TABLE memory_ledger.event AS SELECT * FROM memory_ledger.kept;"
    " CREATE INDEX ON memory_ledger.event (id) WHERE memory_ledger.evil('x'::text) = 'x'",
    "a type with a cast of its own": "CREATE TYPE memory_ledger.word AS ENUM ('x');"
    " CREATE FUNCTION memory_ledger.said(memory_ledger.word) RETURNS json LANGUAGE sql AS"
    " 'SELECT to_json(memory_ledger.evil(''x''))';"
    " CREATE CAST (memory_ledger.word AS json) WITH FUNCTION memory_ledger.said(memory_ledger.word);"
    " CREATE TABLE memory_ledger.event AS SELECT id, component, version, ordinal, 'x'::memory_ledger.word AS name,"
    " kind, state, template_sha256, rendered_sha256, parameters, needs FROM memory_ledger.kept",
}
TRUSTING = (
    "SELECT json_agg(json_build_object('name', name, 'component', component)) FROM memory_ledger.event WHERE id > 0"
)


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
def test_a_ledger_that_was_turned_into_a_trap_runs_nothing_as_the_superuser(
    database: Database, connect: Connect, tree: Tree, disguise: str
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute(EVIL.encode(), prepare=False)
    owner.execute(disguise.encode(), prepare=False)

    def ran_as(script: str) -> str:
        script = f"SET search_path = pg_catalog, pg_temp;\n{script};\n"
        done = psql(database, "postgres", script + "SELECT current_setting('evil.ran_as', true);")
        if done.stderr:
            assert "memory_ledger.event is not as pgberth made it" in done.stderr
        return done.stdout.splitlines()[-1]

    assert ran_as(TRUSTING) == "postgres"  # the trap works
    assert ran_as(ledger.heads_script()) == ""
    stopped = psql(database, "postgres", ledger.heads_script(), "-v", "ON_ERROR_STOP=1")
    assert (stopped.returncode, stopped.stdout) == (3, "")


def test_the_app_has_no_right_on_the_ledger(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    for statement in (
        "SELECT * FROM memory_ledger.event",
        "SELECT * FROM memory_ledger.head",
        "INSERT INTO memory_ledger.event (component) VALUES ('x')",
        "SELECT memory_ledger.refuse_change()",
        "CREATE TABLE memory_ledger.mine ()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.connect("memory_app_a").execute(statement.encode())


def test_the_monitor_may_read_the_ledger_and_nothing_more(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    monitor = database.connect("memory_monitor")
    assert monitor.execute("SELECT count(*) FROM memory_ledger.head").fetchone() == (5,)
    for statement in ("DELETE FROM memory_ledger.event", "INSERT INTO memory_ledger.event (component) VALUES ('x')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            monitor.execute(statement.encode())


@pytest.mark.parametrize("user", ["memory_owner", "postgres"])
@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET body = ''", "DELETE FROM {} WHERE false"],
)
def test_nobody_rewrites_the_ledger(
    database: Database, connect: Connect, tree: Tree, user: str, statement: str
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    before = events(database, "*")
    session = database.connect(user)
    if user == "postgres":
        session.execute("SET session_replication_role = replica")
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        session.execute(statement.format("memory_ledger.event").encode())
    assert events(database, "*") == before


def test_the_ledger_holds_what_was_run_and_by_whom(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    ((body, parameters, login, application, vector),) = database.connect("postgres").execute(
        "SELECT body, parameters, login, application, vector FROM memory_ledger.event"
        " WHERE version = '0000' AND state = 'applied'"
    )
    assert body.startswith('CREATE SCHEMA notes AUTHORIZATION "memory_owner"')
    assert parameters == {"app": "memory_app", "owner": "memory_owner"}
    assert login == "memory_migrator"
    assert application.startswith("pgberth migrate: ")
    assert vector >= "0.8"


def test_verify_is_one_query_over_everything_applied(database: Database, connect: Connect, tree: Tree) -> None:
    outcome = runner.apply(connect, "notes", root=tree.root)
    session = database.connect("postgres")
    assert findings(session, outcome.done) == ()
    owner = database.connect("memory_owner")
    owner.execute("DROP INDEX notes.note_body")
    owner.execute("ALTER TABLE notes.note ENABLE TRIGGER append_only")
    owner.execute("REVOKE INSERT ON notes.note FROM memory_app")
    assert [str(finding) for finding in findings(session, outcome.done)] == [
        "notes 0001: index notes.note_body is missing or invalid",
        "notes R0_grants: grant notes.note lacks INSERT for memory_app",
        "notes R1_trigger: trigger notes.note.append_only is missing or not ALWAYS",
    ]
    query = f"SELECT json_agg(found) FROM ({verify_sql(outcome.done)}) AS found"
    row = session.execute(query.encode()).fetchone()
    assert row is not None
    assert row[0][0] == {
        "component": "notes", "version": "0001", "kind": "index", "object": "notes.note_body",
        "problem": "is missing or invalid",
    }  # fmt: skip


def test_verify_over_nothing_is_a_query_too(database: Database) -> None:
    assert findings(database.connect(), ()) == ()


def test_on_a_plain_postgres_16_it_works_the_same(plain_postgres16: Database, tree: Tree) -> None:
    def connect() -> Connection:
        return plain_postgres16.server.connect("memory_migrator", plain_postgres16.name)

    assert done(runner.apply(connect, "notes", root=tree.root, retry=HASTY)) == ALL
    assert done(runner.revert(connect, "notes", "zero", root=tree.root)) == ["0002", "0001", "0000"]
    assert heads(plain_postgres16)[0].state == "reverted"
