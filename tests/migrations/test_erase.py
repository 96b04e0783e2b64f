"""The sanctioned erasure: one subject's rows go, everything else stays, and a refusal leaves all as it was."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from pgberth.migrations import erase as erasing
from pgberth.migrations.erase import SUBJECTS, Erasure, erase, erasure_from
from pgberth.migrations.repair import repair
from pgberth.migrations.session import Connect
from pgberth.model.problems import Refused
from tests.contract.catalogue import Session
from tests.contract.components import migrator, parameters, standing
from tests.migrations.conftest import HASTY
from tests.postgres import Database, Server

REASON = "asked for by the person it is about"
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def tenant(postgres18: Server) -> Iterator[Database]:
    """Every test makes subjects of its own in it."""
    with standing(postgres18, "control_plane", "knowledge") as database:
        yield database


@pytest.fixture(scope="module")
def superuser(tenant: Database) -> Session:
    return tenant.connect("postgres")


@pytest.fixture(scope="module")
def connect(tenant: Database) -> Connect:
    return migrator(tenant)


# --- subjects

# A run and a procedure with what can belong to them, a reviewed node with a schedule and edges; {n} keeps keys unique.
_ROWS = """
INSERT INTO control_plane.task_run (id, task_key, cousin, objective) VALUES ('{task_run}', 'run-{n}', 'c', 'o');
INSERT INTO control_plane.task_checkpoint (task_run_id, checkpoint_kind, sequence_no, summary, created_by)
VALUES ('{task_run}', 'task_start', 1, 'Began.', 'c'), ('{task_run}', 'task_end', 2, 'Done.', 'c');
INSERT INTO control_plane.memory_procedure (id, slug, title, trigger_text, created_by, steps)
VALUES ('{memory_procedure}', 'procedure-{n}', 't', 'w', 'c', '["s"]');
INSERT INTO control_plane.memory_procedure_version
  (procedure_id, version_no, title, trigger_text, steps, content_hash, change_reason, created_by)
VALUES ('{memory_procedure}', 1, 't', 'w', '["s"]', repeat('ab', 32), 'First.', 'c');
INSERT INTO control_plane.memory_procedure_event (procedure_id, procedure_version_id, event_type, actor)
SELECT procedure_id, id, 'proposed', 'c' FROM control_plane.memory_procedure_version
 WHERE procedure_id = '{memory_procedure}';
INSERT INTO control_plane.memory_procedure_embedding
  (procedure_id, procedure_version_id, embedding_model, embedding_model_version, embedding_dim, content_hash, embedding)
SELECT procedure_id, id, 'm', '1', 1536, content_hash, array_fill(0.5, ARRAY[1536])::vector
  FROM control_plane.memory_procedure_version WHERE procedure_id = '{memory_procedure}';
INSERT INTO knowledge.knowledge_nodes (id, content) VALUES ('{knowledge_node}', 'n {n}'), ('{other_node}', 'm {n}');
INSERT INTO knowledge.review_events (memory_id, rating, prior_state, new_state)
SELECT id::uuid, 3, '{{}}', '{{}}' FROM (VALUES ('{knowledge_node}'), ('{knowledge_node}'), ('{other_node}')) AS v (id);
INSERT INTO knowledge.scheduling (memory_id) VALUES ('{knowledge_node}'), ('{other_node}');
INSERT INTO knowledge.edges (source_id, target_id)
VALUES ('{knowledge_node}', '{other_node}'), ('{other_node}', '{knowledge_node}'), ('{other_node}', '{other_node}');
"""
_OTHERS_EVENT = """INSERT INTO control_plane.memory_procedure_event (procedure_id, task_run_id, event_type, actor)
                   VALUES ('{memory_procedure}', '{task_run}', 'applied', 'c')"""
_LEARNT_FROM = """INSERT INTO control_plane.memory_procedure_version
  (procedure_id, version_no, title, trigger_text, steps, content_hash, change_reason, created_by, source_task_run_id)
  VALUES ('{memory_procedure}', 2, 't', 'w', '["s"]', repeat('cd', 32), 'Learnt.', 'c', '{task_run}')"""
_APPLIES_THE_OTHER = """INSERT INTO control_plane.memory_procedure_event
  (procedure_id, procedure_version_id, event_type, actor)
  SELECT '{memory_procedure}', id, 'contradicted', 'c' FROM control_plane.memory_procedure_version
   WHERE procedure_id = '{other_procedure}'"""
_EMBEDS_THE_OTHER = """INSERT INTO control_plane.memory_procedure_embedding
  (procedure_id, procedure_version_id, embedding_model, embedding_model_version, embedding_dim, content_hash, embedding)
  SELECT '{memory_procedure}', id, 'm', '2', 1536, content_hash, array_fill(0.5, ARRAY[1536])::vector
    FROM control_plane.memory_procedure_version WHERE procedure_id = '{other_procedure}'"""

# What goes with each kind, by table.
GONE: Mapping[str, Mapping[str, int]] = {
    "task_run": {"memory_procedure_event": 0, "task_checkpoint": 2, "task_run": 1},
    "memory_procedure": {
        "memory_procedure_embedding": 1,
        "memory_procedure_event": 1,
        "memory_procedure_version": 1,
        "memory_procedure": 1,
    },
    "knowledge_node": {"scheduling": 1, "edges": 2, "review_events": 2, "knowledge_nodes": 1},
}


@dataclass(frozen=True)
class Subjects:
    """One of each kind, not connected with one another. + ids: by kind"""

    ids: Mapping[str, str]

    def desired(self, kind: str) -> Erasure:
        return Erasure(kind, uuid.UUID(self.ids[kind]), REASON)


def subjects(superuser: Session) -> Subjects:
    ids = {kind: str(uuid.uuid4()) for kind in (*SUBJECTS, "other_node")}
    superuser.execute(_ROWS.format(n=next(_NUMBERS), **ids).encode())
    return Subjects(ids)


@pytest.fixture
def mine(superuser: Session) -> Subjects:
    return subjects(superuser)


@pytest.fixture
def theirs(superuser: Session) -> Subjects:
    return subjects(superuser)


def contents(superuser: Session) -> dict[str, list[str]]:
    """Every row of every table of the schemas and every tombstone, as text; and how every trigger fires."""
    tables = superuser.execute(
        """SELECT relnamespace::regnamespace::text, relname FROM pg_class
            WHERE relkind = 'r' AND relnamespace IN ('control_plane'::regnamespace, 'knowledge'::regnamespace)
            UNION ALL SELECT 'memory_ledger', 'tombstone' ORDER BY 1, 2"""
    ).fetchall()
    found: dict[str, list[str]] = {}
    for schema, table in tables:
        query = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(sql.Identifier(schema, table))
        found[f"{schema}.{table}"] = [row[0] for row in superuser.execute(query)]
    triggers = superuser.execute("SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2")
    found["triggers"] = [str(row) for row in triggers]
    return found


# --- what goes, and what stays


@pytest.mark.parametrize("kind", SUBJECTS)
def test_every_row_of_the_subject_goes_and_no_other(
    connect: Connect, superuser: Session, mine: Subjects, theirs: Subjects, kind: str
) -> None:
    before = contents(superuser)
    assert erase(connect, mine.desired(kind)) == GONE[kind]
    after = contents(superuser)
    identity = mine.ids[kind]
    rows = {table: [row for row in there if identity not in row] for table, there in before.items()}
    tombstones = after.pop("memory_ledger.tombstone")
    assert tombstones[: len(rows["memory_ledger.tombstone"])] == rows.pop("memory_ledger.tombstone")
    assert after == rows
    assert theirs.ids[kind] in str(after)


def test_an_event_goes_with_its_run_and_its_procedure_stays(
    connect: Connect, superuser: Session, mine: Subjects
) -> None:
    superuser.execute(_OTHERS_EVENT.format(**mine.ids).encode())
    assert erase(connect, mine.desired("task_run")) == {**GONE["task_run"], "memory_procedure_event": 1}
    assert erase(connect, mine.desired("memory_procedure")) == GONE["memory_procedure"]


@pytest.mark.parametrize("kind", SUBJECTS)
def test_afterwards_history_is_as_closed_as_before(
    connect: Connect, tenant: Database, superuser: Session, mine: Subjects, theirs: Subjects, kind: str
) -> None:
    erase(connect, mine.desired(kind))
    before = contents(superuser)
    owner, replica = tenant.connect("memory_owner"), tenant.connect("postgres")
    replica.execute("SET session_replication_role = replica")
    for table, column in SUBJECTS[kind].history:
        name = sql.Identifier(SUBJECTS[kind].component, table)
        for statement in ("DELETE FROM {} WHERE {} IS NOT NULL", "DELETE FROM {} WHERE {} IS NULL AND false"):
            for session in (owner, replica):
                with pytest.raises(psycopg.errors.RestrictViolation):
                    session.execute(sql.SQL(statement).format(name, sql.Identifier(column)))
    assert contents(superuser) == before


def test_the_same_erasure_again_finds_nothing(connect: Connect, superuser: Session, mine: Subjects) -> None:
    erase(connect, mine.desired("task_run"))
    before = contents(superuser)
    with pytest.raises(Refused, match=rf"control_plane has nothing of task_run:{mine.ids['task_run']}"):
        erase(connect, mine.desired("task_run"))
    assert contents(superuser) == before


# --- the tombstone


def test_a_tombstone_says_what_went_and_why_and_nothing_of_what_it_was(
    connect: Connect, superuser: Session, mine: Subjects
) -> None:
    erase(connect, mine.desired("knowledge_node"))
    subject = f"knowledge_node:{mine.ids['knowledge_node']}"
    with superuser.cursor(row_factory=dict_row) as cursor:
        (tombstone,) = cursor.execute("SELECT * FROM memory_ledger.tombstone WHERE subject = %s", [subject])
    assert tombstone.pop("id") > 0
    assert abs(datetime.now(UTC) - tombstone.pop("erased_at")) < timedelta(minutes=1)
    assert tombstone == {
        "component": "knowledge",
        "subject": subject,
        "deleted": GONE["knowledge_node"],
        "reason": REASON,
        "login": "memory_migrator",
    }


STATEMENTS = {
    "read": "SELECT FROM memory_ledger.tombstone",
    "insert": "INSERT INTO memory_ledger.tombstone (component, subject, deleted, reason) VALUES ('c', 's', '{}', 'r')",
    "update": "UPDATE memory_ledger.tombstone SET reason = 'none'",
    "update of no row": "UPDATE memory_ledger.tombstone SET reason = 'none' WHERE false",
    "delete": "DELETE FROM memory_ledger.tombstone",
    "truncate": "TRUNCATE memory_ledger.tombstone",
}


CHANGES = [name for name in STATEMENTS if name not in ("read", "insert")]
ATTEMPTS = [
    *(("memory_app_a", name, "42501") for name in STATEMENTS),
    *(("memory_monitor", name, "42501") for name in STATEMENTS if name != "read"),
    *((role, name, "23001") for role in ("memory_owner", "postgres", "postgres as a replica") for name in CHANGES),
]


@pytest.mark.parametrize(("role", "attempt", "sqlstate"), ATTEMPTS)
def test_a_tombstone_stays_and_the_app_does_not_even_see_it(
    connect: Connect, tenant: Database, superuser: Session, mine: Subjects, role: str, attempt: str, sqlstate: str
) -> None:
    erase(connect, mine.desired("task_run"))
    before = contents(superuser)
    user, _, replica = role.partition(" as a ")
    session = tenant.connect(user)
    if replica:
        session.execute("SET session_replication_role = replica")
    with pytest.raises(psycopg.Error) as refused:
        session.execute(STATEMENTS[attempt].encode())
    session.close()
    assert refused.value.sqlstate == sqlstate
    assert contents(superuser) == before


# --- refusals


@pytest.mark.parametrize("kind", SUBJECTS)
def test_nothing_of_the_subject_is_refused(connect: Connect, superuser: Session, mine: Subjects, kind: str) -> None:
    before = contents(superuser)
    another = Erasure(kind, uuid.uuid4(), REASON)
    with pytest.raises(
        Refused, match=rf"{SUBJECTS[kind].component} has nothing of {another.subject}\nHINT: nothing was"
    ):
        erase(connect, another)
    assert contents(superuser) == before


def test_the_id_of_another_kind_is_nothing_of_this_one(connect: Connect, superuser: Session, mine: Subjects) -> None:
    before = contents(superuser)
    with pytest.raises(Refused, match="has nothing of"):
        erase(connect, Erasure("memory_procedure", uuid.UUID(mine.ids["task_run"]), REASON))
    assert contents(superuser) == before


def test_a_run_that_a_procedure_was_learnt_from_stays_until_that_goes(
    connect: Connect, superuser: Session, mine: Subjects, theirs: Subjects
) -> None:
    learnt = {**mine.ids, "memory_procedure": theirs.ids["memory_procedure"]}
    superuser.execute(_LEARNT_FROM.format(**learnt).encode())
    before = contents(superuser)
    with pytest.raises(Refused) as refused:
        erase(connect, mine.desired("task_run"))
    (problem,) = refused.value.problems
    assert problem.fact == (
        f"task_run:{mine.ids['task_run']} is referred to by the history of"
        f" memory_procedure:{theirs.ids['memory_procedure']}"
    )
    assert problem.hint == "nothing was changed; erase what refers to it first"
    assert contents(superuser) == before
    erase(connect, theirs.desired("memory_procedure"))
    assert erase(connect, mine.desired("task_run")) == GONE["task_run"]


def test_a_version_that_another_procedures_event_names_stays_until_that_goes(
    connect: Connect, superuser: Session, mine: Subjects, theirs: Subjects
) -> None:
    crossed = {**theirs.ids, "other_procedure": mine.ids["memory_procedure"]}
    superuser.execute(_APPLIES_THE_OTHER.format(**crossed).encode())
    before = contents(superuser)
    with pytest.raises(Refused, match=f"by the history of memory_procedure:{theirs.ids['memory_procedure']}\n"):
        erase(connect, mine.desired("memory_procedure"))
    assert contents(superuser) == before
    erase(connect, theirs.desired("memory_procedure"))
    assert erase(connect, mine.desired("memory_procedure")) == GONE["memory_procedure"]


def test_whatever_else_refers_to_it_is_named_by_its_constraint(
    connect: Connect, superuser: Session, mine: Subjects, theirs: Subjects
) -> None:
    crossed = {**theirs.ids, "other_procedure": mine.ids["memory_procedure"]}
    superuser.execute(_EMBEDS_THE_OTHER.format(**crossed).encode())
    before = contents(superuser)
    with pytest.raises(Refused) as refused:
        erase(connect, mine.desired("memory_procedure"))
    assert "rows that stay" in str(refused.value)
    assert "memory_procedure_embedding_procedure_version_id_fkey" in str(refused.value)
    assert contents(superuser) == before


def test_a_reference_that_was_not_checked_stops_it_too(
    connect: Connect, superuser: Session, mine: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it is made between the check and the delete."""
    superuser.execute(_LEARNT_FROM.format(**mine.ids).encode())
    before = contents(superuser)
    monkeypatch.setattr(erasing, "_refuse_referenced", lambda *_: None)
    with pytest.raises(
        Refused, match=r"referred to by rows that stay: control_plane\.task_run .* has append-only rows"
    ):
        erase(connect, mine.desired("task_run"))
    assert contents(superuser) == before


# --- in the middle

OPENED = {
    "a statement trigger is missing": "DROP TRIGGER append_only ON {t}",
    "a row trigger is missing": "DROP TRIGGER append_only_row ON {t}",
    "a trigger is off": "ALTER TABLE {t} DISABLE TRIGGER append_only",
    "a trigger is off for replicas": "ALTER TABLE {t} ENABLE TRIGGER append_only_row",
}


@pytest.mark.parametrize("opening", OPENED.values(), ids=OPENED)
@pytest.mark.parametrize("kind", SUBJECTS)
def test_a_history_that_is_not_closed_is_refused_until_provision_has_closed_it(
    connect: Connect, superuser: Session, mine: Subjects, kind: str, opening: str
) -> None:
    component, last = SUBJECTS[kind].component, SUBJECTS[kind].history[-1][0]
    superuser.execute(opening.format(t=f"{component}.{last}").encode())
    before = contents(superuser)
    try:
        with pytest.raises(
            Refused, match=rf"{component}\.{last} is not as .*\nHINT: nothing was changed; run deploy/pr"
        ):
            erase(connect, mine.desired(kind))
        assert contents(superuser) == before
    finally:
        repair(connect, component, parameters(component))
    assert erase(connect, mine.desired(kind)) == GONE[kind]


# Planted so late that the rows are gone already in the transaction.
LATE = {
    "the parent's row cannot go": "CREATE TRIGGER planted BEFORE DELETE ON {parent} EXECUTE FUNCTION public.planted()",
    "the tombstone cannot be written": """CREATE TRIGGER planted BEFORE INSERT ON memory_ledger.tombstone
                                          EXECUTE FUNCTION public.planted()""",
}


@pytest.mark.parametrize("planting", LATE.values(), ids=LATE)
@pytest.mark.parametrize("kind", SUBJECTS)
def test_a_failure_in_the_middle_leaves_all_as_it_was(
    connect: Connect, superuser: Session, mine: Subjects, kind: str, planting: str
) -> None:
    superuser.execute(
        """CREATE FUNCTION public.planted() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'planted'; END $$;
           GRANT EXECUTE ON FUNCTION public.planted() TO memory_owner"""
    )
    try:
        superuser.execute(planting.format(parent=f"{SUBJECTS[kind].component}.{SUBJECTS[kind].parent}").encode())
        before = contents(superuser)
        with pytest.raises(psycopg.errors.RaiseException, match="planted"):
            erase(connect, mine.desired(kind))
        assert contents(superuser) == before
    finally:
        superuser.execute("DROP FUNCTION public.planted() CASCADE")
    assert erase(connect, mine.desired(kind)) == GONE[kind]


@pytest.mark.parametrize("kind", SUBJECTS)
def test_a_table_that_somebody_holds_is_given_up_naming_who(
    connect: Connect, tenant: Database, superuser: Session, mine: Subjects, kind: str
) -> None:
    held = sql.Identifier(SUBJECTS[kind].component, SUBJECTS[kind].history[-1][0])
    before = contents(superuser)
    with tenant.connect("postgres") as writer, writer.transaction():
        # As every INSERT does until its transaction ends.
        writer.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(held))
        with pytest.raises(Refused, match=r"lock timeout, 3 times; .*postgres.* holds RowExclusiveLock") as refused:
            erase(connect, mine.desired(kind), HASTY)
    assert "\nHINT: Nothing was changed." in str(refused.value)
    assert contents(superuser) == before
    assert erase(connect, mine.desired(kind), HASTY) == GONE[kind]


def test_a_component_without_its_tables_is_refused(database: Database) -> None:
    with pytest.raises(Refused, match=r"knowledge\.review_events is not as it should be"):
        erase(migrator(database), Erasure("knowledge_node", uuid.uuid4(), REASON))


# --- what was typed

TYPED = {"subject": "task_run:0D3F5B1A-5E0C-4E0B-9C3C-0123456789ab", "reason": " gone ", "tenant": "acme"}


def test_an_erasure_is_what_was_typed() -> None:
    desired = erasure_from(TYPED)
    assert desired == Erasure("task_run", uuid.UUID("0d3f5b1a-5e0c-4e0b-9c3c-0123456789ab"), "gone")
    assert desired.subject == "task_run:0d3f5b1a-5e0c-4e0b-9c3c-0123456789ab"


BAD: Mapping[str, tuple[dict[str, str], list[str]]] = {
    "an unknown kind": ({"subject": "user:" + TYPED["subject"][9:]}, ["'user' is not a kind"]),
    "a kind in capitals": ({"subject": TYPED["subject"].upper()}, ["'TASK_RUN' is not a kind"]),
    "no id": ({"subject": "task_run"}, ["'' is not a UUID"]),
    "half an id": ({"subject": "task_run:0d3f5b1a"}, ["'0d3f5b1a' is not a UUID"]),
    "an id with SQL behind it": ({"subject": TYPED["subject"] + "' OR true"}, ['OR true" is not a UUID']),
    "a blank reason": ({"reason": " \t"}, ["reason is missing"]),
    "everything": (
        {"subject": "user:7", "reason": ""},
        ["'user' is not", "'7' is not a UUID", "reason is missing"],
    ),
}


@pytest.mark.parametrize(("typed", "told"), BAD.values(), ids=BAD)
def test_all_that_is_wrong_with_what_was_typed_comes_at_once(typed: dict[str, str], told: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        erasure_from(TYPED | typed)
    problems = refused.value.problems
    assert len(problems) == len(told)
    for problem, part in zip(problems, told, strict=True):
        assert problem.fact.startswith("--data ")
        assert part in problem.fact
        assert "--data subject=KIND:UUID --data reason=TEXT --data tenant=NAME" in problem.hint


def test_nothing_typed_at_all_is_three_problems() -> None:
    with pytest.raises(Refused) as refused:
        erasure_from({})
    assert len(refused.value.problems) == 3
