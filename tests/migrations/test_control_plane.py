"""
The control plane's acceptance list.

Every table with its exact columns and enums; applied twice without a difference; reversible, and never over rows; on a
PostgreSQL 16 without pgvector; its vector table only where model, version and dimension are known; no secret in any
column. That its history is append-only is `test_append_only.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgberth.migrations import runner
from pgberth.model.problems import Refused
from tests.contract.catalogue import Session, contract, live, orders
from tests.contract.components import applied, bring_up, dump, found, migrator, standing, take_down, undone
from tests.contract.samples import NO_SECRETS, NOT_REFERENCES, REFERENCES, SECRETS, filling
from tests.postgres import Database, Server

# The lint: every column that holds references, by its mark.
MARKED = """
SELECT format('%s.%s', c.relname, a.attname)
  FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.relnamespace = 'control_plane'::regnamespace AND c.relkind = 'r'
   AND col_description(c.oid, a.attnum) LIKE 'pgberth:reference%' ORDER BY 1
"""


@pytest.fixture(scope="module")
def tenant(postgres18: Server) -> Iterator[Database]:
    with standing(postgres18, "control_plane") as database:
        yield database


@pytest.fixture(scope="module")
def superuser(tenant: Database) -> Session:
    return tenant.connect("postgres")


@pytest.fixture(scope="module")
def app(tenant: Database) -> Session:
    return tenant.connect("memory_app_a")


# --- exact


def test_every_table_and_enum_is_as_the_contract_says(superuser: Session) -> None:
    desired, there = contract("control_plane"), live(superuser, "control_plane")
    assert there == {"enums": desired["enums"], "tables": desired["tables"]}
    assert orders(there) == orders(desired)


def test_the_base_applies_on_a_postgresql_16_without_pgvector(plain_postgres16: Database) -> None:
    bring_up(plain_postgres16, "control_plane", {})
    desired, there = contract("control_plane"), live(plain_postgres16.connect("postgres"), "control_plane")
    del desired["tables"]["memory_procedure_embedding"]
    assert there == {"enums": desired["enums"], "tables": desired["tables"]}
    assert plain_postgres16.connect("postgres").execute("SELECT extname FROM pg_extension").fetchall() == [("plpgsql",)]
    plain_postgres16.connect("memory_app_a").execute(filling("control_plane"))
    take_down_refused(plain_postgres16)


def take_down_refused(database: Database) -> None:
    before = dump(database)
    with pytest.raises(Refused, match="0001 is not reversible"):
        runner.revert(migrator(database), "control_plane", "zero")
    assert dump(database) == before


# --- gated


@pytest.mark.parametrize("name", ["embedding_model", "embedding_model_version", "embedding_dimension"])
def test_the_vector_table_waits_for_what_is_not_given(database: Database, name: str) -> None:
    given = {key: value for key, value in contract("control_plane")["parameters"].items() if key != name}
    outcome = runner.apply(migrator(database), "control_plane", given)
    assert [waiting.missing for waiting in outcome.waiting if "0002" in waiting.title] == [(name,)]
    assert "memory_procedure_embedding" not in live(database.connect("postgres"), "control_plane")["tables"]
    assert database.connect("memory_app_a").execute(filling("control_plane")).rowcount


def test_the_vector_table_says_what_it_misses(plain_postgres16: Database) -> None:
    with pytest.raises(Refused, match=r"public\.vector is missing"):
        bring_up(plain_postgres16, "control_plane")
    assert "memory_procedure_embedding" not in live(plain_postgres16.connect("postgres"), "control_plane")["tables"]


def test_a_vector_tells_its_own_dimension_and_only_that(app: Session) -> None:
    row = """INSERT INTO control_plane.memory_procedure_embedding
             (procedure_id, procedure_version_id, embedding_model, embedding_model_version, embedding_dim, content_hash,
              embedding)
             SELECT procedure_id, id, 'text-embedding-3-small', '2024-01-25', %s, content_hash,
                    array_fill(0.5, ARRAY[1536])::vector
               FROM control_plane.memory_procedure_version"""
    with undone(app):
        app.execute(filling("control_plane"))
        app.execute(row, [1536])
        with pytest.raises(psycopg.errors.CheckViolation), undone(app):
            app.execute(row.replace("2024", "2025").encode(), [768])


# --- idempotent and reversible


def test_up_down_to_zero_and_up_again_gives_the_same_schema(database: Database) -> None:
    nothing = dump(database)
    bring_up(database, "control_plane")
    everything = dump(database)
    assert bring_up(database, "control_plane") == ()
    assert dump(database) == everything
    take_down(database, "control_plane", "zero")
    assert dump(database) == nothing
    bring_up(database, "control_plane")
    assert dump(database) == everything


def test_down_over_rows_refuses_and_changes_nothing(database: Database) -> None:
    bring_up(database, "control_plane", {})
    database.connect("memory_app_a").execute(filling("control_plane"))
    take_down_refused(database)
    assert found(database.connect("memory_owner"), applied(database, "control_plane")[:2]) == ()


# --- no secret in any column


def test_the_lint_lists_every_column_that_holds_references(superuser: Session) -> None:
    marked = [name for (name,) in superuser.execute(MARKED).fetchall()]
    named = [
        f"{table}.{column}"
        for table, made in live(superuser, "control_plane")["tables"].items()
        for column in made["columns"]
        if column.endswith(("_ref", "_refs"))
    ]
    assert marked == sorted(named)
    assert len(marked) == 8


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_is_taken(app: Session, reference: str) -> None:
    with undone(app):
        app.execute(filling("control_plane"))
        app.execute("UPDATE control_plane.task_run SET issue_ref = %s, pr_ref = %s", [reference, reference])
        app.execute("UPDATE control_plane.task_run SET source_refs = %s", [Jsonb([reference])])
        checkpoint(app, source_refs=Jsonb([reference]), evidence_refs=Jsonb([reference, reference]))


@pytest.mark.parametrize("value", NOT_REFERENCES)
def test_a_value_is_no_reference(app: Session, value: str) -> None:
    with undone(app):
        app.execute(filling("control_plane"))
        refused(app, "task_run_issue_ref_is_reference", "UPDATE control_plane.task_run SET issue_ref = %s", [value])
        refused_checkpoint(app, "evidence_refs_are_references", evidence_refs=Jsonb(["repo#12", value]))


@pytest.mark.parametrize("value", [{}, {"ref": "repo#12"}, "repo#12", None, [["repo#12"]], [12], [None]], ids=str)
def test_references_are_an_array_of_texts(app: Session, value: Any) -> None:
    with undone(app):
        app.execute(filling("control_plane"))
        refused_checkpoint(app, "source_refs_are_references", source_refs=Jsonb(value))


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_the_shape_of_a_token_is_refused_wherever_it_is_written(app: Session, secret: str) -> None:
    with undone(app):
        app.execute(filling("control_plane"))
        refused_checkpoint(app, "summary_no_secret", summary=f"I used {secret} for it.")
        refused_checkpoint(app, "next_action_no_secret", next_action=f"first line\n{secret}")
        refused_checkpoint(app, "state_no_secret", state=Jsonb({"log": [f"first line\n{secret}\tand on"]}))
        refused_checkpoint(app, "state_no_secret", state=Jsonb({secret: 1}))


@pytest.mark.parametrize("prose", NO_SECRETS)
def test_ordinary_prose_and_hashes_are_taken(app: Session, prose: str) -> None:
    with undone(app):
        app.execute(filling("control_plane"))
        checkpoint(app, summary=prose, next_action=prose, state=Jsonb({"log": [prose], prose: 1}))


def test_every_free_text_of_a_history_is_guarded(superuser: Session) -> None:
    """Each text or jsonb column of an append-only table has a check that refuses secrets, or all but references."""
    tables = live(superuser, "control_plane")["tables"]
    for table in ("task_checkpoint", "memory_procedure_version", "memory_procedure_event"):
        checks = " ".join(tables[table]["constraints"].values())
        for name, column in tables[table]["columns"].items():
            if column["type"] in ("text", "jsonb", "text[]") and name != "content_hash":
                assert f"holds_secret({name})" in checks or f"({name})" in checks, f"{table}.{name}"


def checkpoint(session: Session, **columns: Any) -> None:
    """Append a checkpoint to the one run, with these columns besides the necessary ones."""
    row = {"checkpoint_kind": "task_start", "sequence_no": 99, "summary": "s", "created_by": "cousin"} | columns
    names = ", ".join(row)
    values = ", ".join(f"%({name})s" for name in row)
    insert = f"INSERT INTO control_plane.task_checkpoint (task_run_id, {names})"
    session.execute(f"{insert} SELECT id, {values} FROM control_plane.task_run".encode(), row)


def refused_checkpoint(session: Session, constraint: str, **columns: Any) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as violation, undone(session):
        checkpoint(session, **columns)
    assert violation.value.diag.constraint_name == f"task_checkpoint_{constraint}"


def refused(session: Session, constraint: str, statement: str, values: list[Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as violation, undone(session):
        session.execute(statement.encode(), values)
    assert violation.value.diag.constraint_name == constraint


# --- the rules of the rows


RUN = "INSERT INTO control_plane.task_run (task_key, cousin, objective{}) VALUES ('k', 'c', 'o'{})"
PROCEDURE = """INSERT INTO control_plane.memory_procedure (slug, title, trigger_text, created_by, steps{})
               VALUES ('s', 't', 'w', 'c', '["step"]'{})"""
GOOD_ROWS = {
    "a run": RUN.format("", ""),
    "a procedure": PROCEDURE.format("", ""),
    "a verified procedure": PROCEDURE.format(", status, verified_by", ", 'active', '{operator}'"),
    "full confidence": PROCEDURE.format(", confidence", ", 1"),
    "an end after the beginning": PROCEDURE.format(", invalid_at", ", now() + interval '1 day'"),
}
BAD_ROWS = {
    "a status that is none": (RUN.format(", status", ", 'paused'"), "22P02"),
    "a procedure that promotes itself": (PROCEDURE.format(", status", ", 'active'"), "23514"),
    "no steps": (PROCEDURE.format("", "").replace('["step"]', "[]"), "23514"),
    "steps that are not a list": (PROCEDURE.format("", "").replace('["step"]', "{}"), "23514"),
    "steps left out": (PROCEDURE.format("", "").replace(", steps", "").replace(", '[\"step\"]'", ""), "23502"),
    "more than full confidence": (PROCEDURE.format(", confidence", ", 1.01"), "23514"),
    "a negative count": (PROCEDURE.format(", use_count", ", -1"), "23514"),
    "an end before the beginning": (PROCEDURE.format(", invalid_at", ", now() - interval '1 day'"), "23514"),
    "a key twice": (f"{RUN.format('', '')}; {RUN.format('', '')}", "23505"),
}


@pytest.mark.parametrize("statement", GOOD_ROWS.values(), ids=GOOD_ROWS)
def test_a_row_that_keeps_the_rules_is_taken(app: Session, statement: str) -> None:
    with undone(app):
        app.execute(statement.encode())


@pytest.mark.parametrize(("statement", "sqlstate"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_row_that_breaks_a_rule_is_refused(app: Session, statement: str, sqlstate: str) -> None:
    with undone(app), pytest.raises(psycopg.Error) as violation:
        app.execute(statement.encode())
    assert violation.value.sqlstate == sqlstate


BAD_CHECKPOINTS = {
    "sequence_no_positive": {"sequence_no": 0},
    "summary_not_blank": {"summary": " \n"},
    "self_correction_count_not_negative": {"self_correction_count": -1},
    "stopped_says_next_action": {"checkpoint_kind": "blocked"},
}


@pytest.mark.parametrize(("constraint", "columns"), BAD_CHECKPOINTS.items(), ids=BAD_CHECKPOINTS)
def test_a_checkpoint_that_breaks_a_rule_is_refused(app: Session, constraint: str, columns: dict[str, Any]) -> None:
    with undone(app):
        app.execute(filling("control_plane"))
        checkpoint(app, sequence_no=98)
        refused_checkpoint(app, constraint, **columns)


def test_a_task_is_resumed_from_its_newest_end_or_block(superuser: Session) -> None:
    plan = """EXPLAIN SELECT * FROM control_plane.task_checkpoint
              WHERE task_run_id = gen_random_uuid() AND checkpoint_kind IN ('task_end', 'blocked')
              ORDER BY created_at DESC LIMIT 1"""
    with undone(superuser):
        superuser.execute("SET LOCAL enable_seqscan = off")
        assert "idx_task_checkpoint_resume" in str(superuser.execute(plan).fetchall())
