"""A knowledge store is bound to one embedding model, once; only then can its vectors be indexed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pgberth.knowledge.model import EmbeddingModel, model_from, register, repeat
from pgberth.migrations import runner
from pgberth.migrations.session import Connect
from pgberth.model.problems import Refused
from tests.contract.catalogue import Session
from tests.contract.components import applied, dump, found, migrator
from tests.postgres import Database

MODEL = EmbeddingModel("an 'embedder'", 32, "sha256:0f1e")
OTHERS = {
    "name": replace(MODEL, name="another"),
    "dimension": replace(MODEL, dimension=64),
    "hash": replace(MODEL, hash="1e5"),
}
FILLING = """INSERT INTO knowledge.knowledge_nodes (content, embedding)
             SELECT 'note ' || n, (SELECT array_agg(sin(n * 7.0 + d)) FROM generate_series(1, {}) AS d)::vector
               FROM generate_series(1, {}) AS n"""


@pytest.fixture
def connect(database: Database) -> Connect:
    """Sessions as the migrator, with a knowledge store that has no model yet."""
    connect = migrator(database)
    runner.apply(connect, "knowledge")
    return connect


@pytest.fixture
def superuser(database: Database) -> Session:
    return database.connect("postgres")


def fill(session: Session, dimension: int, rows: int = 3) -> None:
    session.execute(FILLING.format(dimension, rows).encode())


def registry(session: Session) -> list[tuple[object, ...]]:
    return session.execute("SELECT id, name, dimension, hash FROM knowledge.embedding_model").fetchall()


def column_type(session: Session) -> str:
    row = session.execute(
        """SELECT format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = 'knowledge.knowledge_nodes'::regclass AND attname = 'embedding'"""
    ).fetchone()
    assert row
    return str(row[0]).removeprefix("public.")


def steps(session: Session) -> list[tuple[object, ...]]:
    """What the ledger tells of the step."""
    return session.execute(
        "SELECT kind, state, parameters FROM memory_ledger.event WHERE version = 'register_model' ORDER BY id"
    ).fetchall()


def everything(database: Database, session: Session) -> object:
    return dump(database), registry(session), steps(session)


# --- the step


def test_it_stamps_the_dimension_writes_the_registry_and_records_itself(connect: Connect, superuser: Session) -> None:
    assert column_type(superuser) == "vector"
    assert register(connect, MODEL) is True
    assert column_type(superuser) == "vector(32)"
    assert registry(superuser) == [(1, "an 'embedder'", 32, "sha256:0f1e")]
    recorded = {"registered_model": "an 'embedder'", "model_dimension": 32, "model_hash": "sha256:0f1e"}
    assert steps(superuser) == [("code", "started", recorded), ("code", "applied", recorded)]


def test_the_same_signature_again_changes_nothing(connect: Connect, database: Database, superuser: Session) -> None:
    register(connect, MODEL)
    before = everything(database, superuser)
    assert register(connect, MODEL) is False
    assert everything(database, superuser) == before


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_signature_is_refused_naming_both(
    connect: Connect, database: Database, superuser: Session, other: EmbeddingModel
) -> None:
    register(connect, MODEL)
    before = everything(database, superuser)
    with pytest.raises(Refused) as refused:
        register(connect, other)
    message = str(refused.value)
    for model in (MODEL, other):
        for value in (model.name, str(model.dimension), model.hash):
            assert value in message
    assert everything(database, superuser) == before


def test_a_registry_row_of_another_signature_is_refused_naming_both(connect: Connect, superuser: Session) -> None:
    superuser.execute("INSERT INTO knowledge.embedding_model VALUES (1, 'by hand', 64, 'unknown')")
    with pytest.raises(Refused, match="registered for by hand, dimension 64, hash unknown; not for an 'embedder'"):
        register(connect, MODEL)
    assert column_type(superuser) == "vector"
    assert steps(superuser) == []


def test_a_registry_row_of_the_same_signature_is_taken_as_it_is(connect: Connect, superuser: Session) -> None:
    superuser.execute(
        "INSERT INTO knowledge.embedding_model VALUES (1, %s, %s, %s)", [MODEL.name, MODEL.dimension, MODEL.hash]
    )
    assert register(connect, MODEL) is True
    assert column_type(superuser) == "vector(32)"
    assert len(registry(superuser)) == 1
    assert register(connect, MODEL) is False


def test_rows_of_another_dimension_are_refused_and_counted(
    connect: Connect, database: Database, superuser: Session
) -> None:
    fill(superuser, 32, rows=2)
    fill(superuser, 64, rows=3)
    before = everything(database, superuser)
    with pytest.raises(Refused, match="knowledge_nodes holds 3 embeddings of another dimension than 32"):
        register(connect, MODEL)
    assert everything(database, superuser) == before
    superuser.execute("UPDATE knowledge.knowledge_nodes SET embedding = NULL WHERE vector_dims(embedding) = 64")
    assert register(connect, MODEL) is True


@pytest.mark.parametrize("dimension", [2001, 4000, 16001, 0, -1])
def test_a_dimension_that_no_index_takes_is_refused(connect: Connect, superuser: Session, dimension: int) -> None:
    with pytest.raises(Refused, match=rf"dimension {dimension}, hash sha256:0f1e cannot be indexed: .* 1 to 2000"):
        register(connect, replace(MODEL, dimension=dimension))
    assert column_type(superuser) == "vector"


def test_the_greatest_dimension_can_be_indexed(connect: Connect, superuser: Session) -> None:
    register(connect, replace(MODEL, dimension=2000))
    runner.apply(connect, "knowledge")
    assert valid(superuser) is True


def test_without_its_tables_it_says_what_comes_first(database: Database) -> None:
    with pytest.raises(Refused, match=r"knowledge register_model needs knowledge 0001.*\nHINT: Migrate knowledge"):
        register(migrator(database), MODEL)


def test_of_two_signatures_at_once_one_wins_and_the_other_is_refused(connect: Connect, superuser: Session) -> None:
    at_once = threading.Barrier(6)

    def attempt(model: EmbeddingModel) -> tuple[EmbeddingModel, object]:
        at_once.wait(10)
        try:
            return model, register(connect, model)
        except Refused as refused:
            return model, str(refused)

    with ThreadPoolExecutor(6) as runners:
        done = list(runners.map(attempt, [MODEL, OTHERS["dimension"]] * 3))
    ((winner, _),) = [outcome for outcome in done if outcome[1] is True]
    assert [outcome for model, outcome in done if model == winner].count(False) == 2
    losers = [outcome for model, outcome in done if model != winner]
    assert len(losers) == 3
    assert all(f"model_dimension = {winner.dimension}" in str(refusal) for refusal in losers)
    assert registry(superuser) == [(1, winner.name, winner.dimension, winner.hash)]
    assert column_type(superuser) == f"vector({winner.dimension})"
    assert [state for _, state, _ in steps(superuser)] == ["started", "applied"]


# --- what it opens


def valid(session: Session) -> object:
    row = session.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'knowledge.idx_knowledge_nodes_embedding_hnsw'::regclass"
    ).fetchone()
    return row and row[0]


@pytest.mark.parametrize("rows", [0, 500])
def test_then_the_vector_index_is_built_and_valid(
    connect: Connect, database: Database, superuser: Session, rows: int
) -> None:
    fill(superuser, MODEL.dimension, rows)
    register(connect, MODEL)
    done = runner.apply(connect, "knowledge")
    assert done.done[0].version == "0002"
    assert done.waiting == ()
    assert valid(superuser) is True
    assert found(database.connect("memory_owner"), applied(database, "knowledge")) == ()


def test_the_planner_takes_the_index_for_cosine_order_and_for_no_other(connect: Connect, superuser: Session) -> None:
    register(connect, MODEL)
    fill(superuser, MODEL.dimension, rows=1500)
    runner.apply(connect, "knowledge")
    superuser.execute("ANALYZE knowledge.knowledge_nodes")
    nearest = """SELECT content FROM knowledge.knowledge_nodes
                  ORDER BY embedding {} (SELECT embedding FROM knowledge.knowledge_nodes WHERE content = 'note 77')
                  LIMIT 5"""
    plans = {
        operator: str(superuser.execute(f"EXPLAIN {nearest.format(operator)}".encode()).fetchall())
        for operator in ("<=>", "<->", "<#>")
    }
    assert [operator for operator, plan in plans.items() if "idx_knowledge_nodes_embedding_hnsw" in plan] == ["<=>"]
    assert superuser.execute(nearest.format("<=>").encode()).fetchone() == ("note 77",)


def test_the_step_can_be_repeated_elsewhere_from_what_the_ledger_has(connect: Connect, superuser: Session) -> None:
    register(connect, MODEL)
    ((_, _, recorded),) = steps(superuser)[1:]
    assert isinstance(recorded, dict)
    with superuser.transaction(force_rollback=True):
        superuser.execute("DELETE FROM knowledge.embedding_model")
        superuser.execute("ALTER TABLE knowledge.knowledge_nodes ALTER COLUMN embedding TYPE vector")
        assert repeat(superuser, recorded) is True
        assert registry(superuser) == [(1, MODEL.name, MODEL.dimension, MODEL.hash)]
        assert column_type(superuser) == "vector(32)"


def test_down_below_the_tables_unbinds_the_store(connect: Connect, superuser: Session) -> None:
    register(connect, MODEL)
    runner.apply(connect, "knowledge")
    runner.revert(connect, "knowledge", "0000")
    runner.apply(connect, "knowledge")
    assert registry(superuser) == []
    assert register(connect, OTHERS["dimension"]) is True


# --- what was typed

TYPED = {"model": "embedder", "dimension": "768", "hash": "1e5"}


@pytest.mark.parametrize(
    ("typed", "model"),
    [
        (TYPED, EmbeddingModel("embedder", 768, "1e5")),
        (TYPED | {"dimension": "2000"}, EmbeddingModel("embedder", 2000, "1e5")),
        (TYPED | {"dimension": "0064"}, EmbeddingModel("embedder", 64, "1e5")),
        (TYPED | {"model": " embedder ", "hash": "1e5\n"}, EmbeddingModel("embedder", 768, "1e5")),
    ],
)
def test_a_model_is_what_was_typed(typed: dict[str, str], model: EmbeddingModel) -> None:
    assert model_from(typed) == model


BAD_DIMENSIONS = ["", "0", "-1", "2001", "1.5", "1e3", "many", "٧٦٨", "²", " 768", "9" * 5000]


@pytest.mark.parametrize("dimension", BAD_DIMENSIONS, ids=lambda typed: repr(typed[:9]))
def test_a_dimension_that_is_none_is_refused(dimension: str) -> None:
    with pytest.raises(Refused, match="must be a whole number from 1 to 2000"):
        model_from(TYPED | {"dimension": dimension})


@pytest.mark.parametrize("blank", [{}, {"model": "", "hash": " ", "dimension": "2001"}])
def test_all_that_is_wrong_with_what_was_typed_comes_at_once(blank: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        model_from(blank)
    assert [problem.fact.split(" must")[0] for problem in refused.value.problems] == [
        "--data model is missing",
        "--data hash is missing",
        f"--data dimension={blank.get('dimension', '')!r}",
    ]
    assert all("--data model=NAME --data dimension=N --data hash" in p.hint for p in refused.value.problems)
