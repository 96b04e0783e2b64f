"""The knowledge store's schema: that it runs at all, its stages, what moves updated_at, and that a dump restores."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pgberth.migrations import runner
from pgberth.model.problems import Refused
from tests.contract.catalogue import Session, live
from tests.contract.components import DIMENSION, applied, bring_up, dump, found, migrator, standing, take_down, undone
from tests.contract.samples import NO_SECRETS, SECRETS, filling
from tests.postgres import Database, Server

FIRST_USER = "00000000-0000-0000-0000-000000000001"
NODE = "INSERT INTO knowledge.knowledge_nodes (content) VALUES ('The gate is green.') RETURNING id"
REVIEW = "INSERT INTO knowledge.review_events (memory_id, rating, prior_state, new_state)"


@pytest.fixture(scope="module")
def tenant(postgres18: Server) -> Iterator[Database]:
    with standing(postgres18, "knowledge") as database:
        yield database


@pytest.fixture(scope="module")
def superuser(tenant: Database) -> Session:
    return tenant.connect("postgres")


@pytest.fixture(scope="module")
def app(tenant: Database) -> Session:
    return tenant.connect("memory_app_a")


# --- what was published could not be applied


def test_the_published_search_vector_is_refused_and_ours_is_not(superuser: Session) -> None:
    published = """CREATE TABLE knowledge.published (tags text[], search_vec tsvector GENERATED ALWAYS AS (
                     to_tsvector('english', array_to_string(tags, ' '))) STORED)"""
    with undone(superuser):
        with pytest.raises(psycopg.errors.InvalidObjectDefinition, match="not immutable"), undone(superuser):
            superuser.execute(published)
        superuser.execute(published.replace("array_to_string(tags, ' ')", "knowledge.tags_text(tags)").encode())


@pytest.mark.parametrize(
    ("word", "weight"), [("greener", "A"), ("recipe", "B"), ("cooking", "C"), ("second", "C"), ("absent", None)]
)
def test_a_node_is_found_by_content_type_and_tags(app: Session, word: str, weight: str | None) -> None:
    with undone(app):
        app.execute(
            """INSERT INTO knowledge.knowledge_nodes (content, node_type, tags)
               VALUES ('Greener than before', 'recipe', ARRAY['cooking', NULL, 'second half'])"""
        )
        hits = app.execute(
            'SELECT ts_filter(search_vec, %s::"char"[])::text FROM knowledge.knowledge_nodes'
            " WHERE search_vec @@ plainto_tsquery('english', %s)",
            [f"{{{weight or 'A'}}}", word],
        ).fetchall()
    assert len(hits) == (weight is not None)
    assert all(hit != ("",) for hit in hits)


# --- stages


def test_without_a_model_it_stops_before_the_vector_index_and_works(database: Database) -> None:
    outcome = runner.apply(migrator(database), "knowledge")
    assert [waiting.missing for waiting in outcome.waiting] == [("registered_model",)]
    tables = live(database.connect("postgres"), "knowledge")["tables"]
    assert len(tables) == 9
    assert tables["knowledge_nodes"]["columns"]["embedding"]["type"] == "vector"
    database.connect("memory_app_a").execute(filling("knowledge"))


def test_the_vector_index_before_the_dimension_fails_whole(database: Database) -> None:
    bring_up(database, "knowledge", {})
    before = dump(database)
    with pytest.raises(Refused, match="column does not have dimensions"):
        runner.apply(migrator(database), "knowledge", {"registered_model": "by hand"})
    assert dump(database) == before


@pytest.mark.parametrize(
    ("vector", "sqlstate"),
    [
        (f"array_fill(0.5, ARRAY[{DIMENSION}])::vector", None),
        ("'[1,2]'::vector", "22000"),
        ("'[NaN]'::vector", "22000"),
    ],
)
def test_a_registered_model_binds_every_vector(app: Session, vector: str, sqlstate: str | None) -> None:
    with undone(app):
        app.execute(NODE)
        update = f"UPDATE knowledge.knowledge_nodes SET embedding = {vector}".encode()
        if sqlstate is None:
            assert app.execute(update).rowcount == 1
            return
        with pytest.raises(psycopg.DataError) as refused, undone(app):
            app.execute(update)
        assert refused.value.sqlstate == sqlstate


def test_nearest_nodes_come_from_the_vector_index(superuser: Session) -> None:
    query = f"""EXPLAIN SELECT id FROM knowledge.knowledge_nodes
                ORDER BY embedding <=> array_fill(0.5, ARRAY[{DIMENSION}])::vector LIMIT 5"""
    with undone(superuser):
        superuser.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        assert "idx_knowledge_nodes_embedding_hnsw" in str(superuser.execute(query.encode()).fetchall())


@pytest.mark.parametrize(("desired", "there"), [(None, False), (False, False), (True, True)])
def test_updated_at_is_indexed_only_where_asked_for(database: Database, desired: bool | None, there: bool) -> None:
    bring_up(database, "knowledge", {} if desired is None else {"index_updated_at": desired})
    indexes = live(database.connect("postgres"), "knowledge")["tables"]["knowledge_nodes"]["indexes"]
    assert ("idx_knowledge_nodes_updated" in indexes) == there


# --- rows


def test_there_is_the_first_user_and_a_node_is_theirs_and_private(app: Session) -> None:
    with undone(app):
        users = app.execute("SELECT id::text, handle, display_name FROM knowledge.users").fetchall()
        app.execute(NODE)
        node = app.execute(
            """SELECT owner_user_id::text, visibility, shared_with_groups, codebase, node_type, tags, metadata
               FROM knowledge.knowledge_nodes"""
        ).fetchone()
    assert users == [(FIRST_USER, "local", "Local User")]
    assert node == (FIRST_USER, "private", [], None, "general", [], {})


BAD_ROWS = {
    "a visibility that is none": ("UPDATE knowledge.knowledge_nodes SET visibility = 'friends'", "23514"),
    "an owner that is none": ("UPDATE knowledge.knowledge_nodes SET owner_user_id = gen_random_uuid()", "23503"),
    "a membership of an unknown role": (
        f"""INSERT INTO knowledge.groups (handle) VALUES ('g');
            INSERT INTO knowledge.group_memberships SELECT '{FIRST_USER}', id, 'guest' FROM knowledge.groups""",
        "23514",
    ),
    "a handle twice": ("INSERT INTO knowledge.users (handle) VALUES ('local')", "23505"),
    "an edge twice": (
        "INSERT INTO knowledge.edges SELECT id, id FROM knowledge.knowledge_nodes, (VALUES (1), (2)) v",
        "23505",
    ),
    "a registered model by the app": ("INSERT INTO knowledge.embedding_model VALUES (1, 'm', 3, 'h')", "42501"),
    "a second registered model": ("RESET ROLE; INSERT INTO knowledge.embedding_model VALUES (2, 'm', 3, 'h')", "42501"),
    "a search vector of one's own": ("UPDATE knowledge.knowledge_nodes SET search_vec = 'x'", "428C9"),
}


@pytest.mark.parametrize(("statement", "sqlstate"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_row_that_breaks_a_rule_is_refused(app: Session, statement: str, sqlstate: str) -> None:
    with undone(app), pytest.raises(psycopg.Error) as refused:
        app.execute(NODE)
        app.execute(statement.encode())
    assert refused.value.sqlstate == sqlstate


def test_the_registry_holds_one_model(superuser: Session) -> None:
    with undone(superuser):
        superuser.execute("INSERT INTO knowledge.embedding_model (name, dimension, hash) VALUES ('m', 3, 'h')")
        for row in ("(2, 'm', 3, 'h')", "(1, 'm', 3, 'h')", "(1, 'm', 0, 'h')"):
            with pytest.raises(psycopg.IntegrityError), undone(superuser):
                superuser.execute(f"INSERT INTO knowledge.embedding_model VALUES {row}".encode())


MOVES = {
    "content = content || '!'": True,
    "node_type = 'fact'": True,
    "tags = '{new}'": True,
    "metadata = '{\"a\": 1}'": True,
    "codebase = 'pgberth'": True,
    "content = content, tags = tags": False,
    "embedding = NULL": False,
    f"embedding = array_fill(0.5, ARRAY[{DIMENSION}])::vector": False,
    "domains = '{x}', domain_scores = '{\"x\": 1}'": False,
    "visibility = 'public'": False,
}


@pytest.mark.parametrize(("change", "moves"), MOVES.items(), ids=MOVES)
def test_updated_at_moves_when_what_was_written_changes(app: Session, change: str, moves: bool) -> None:
    with undone(app):
        app.execute(NODE.replace("(content)", "(content, updated_at)").replace("')", "', '2001-01-01')").encode())
        app.execute(f"UPDATE knowledge.knowledge_nodes SET {change}".encode())
        moved = app.execute("SELECT updated_at = now() FROM knowledge.knowledge_nodes").fetchone()
    assert moved == (moves,)


@pytest.mark.parametrize("state", ["prior_state", "new_state"])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_review_refuses_the_shape_of_a_token(app: Session, secret: str, state: str) -> None:
    with undone(app), pytest.raises(psycopg.errors.CheckViolation) as refused:
        review(app, state, f"first line\n{secret}")
    assert refused.value.diag.constraint_name == f"review_events_{state}_no_secret"


@pytest.mark.parametrize("prose", NO_SECRETS)
def test_a_review_takes_ordinary_prose_and_hashes(app: Session, prose: str) -> None:
    with undone(app):
        review(app, "new_state", prose)


def review(app: Session, state: str, text: str) -> None:
    app.execute(NODE)
    other = {"prior_state": "new_state", "new_state": "prior_state"}[state]
    insert = REVIEW.replace("prior_state, new_state", f"{state}, {other}")
    select = " SELECT id, 3, jsonb_build_object('note', %s::text), '{}' FROM knowledge.knowledge_nodes"
    app.execute((insert + select).encode(), [text])


# --- back


@pytest.mark.parametrize(
    ("filling_in", "refuses"),
    [
        ("SELECT 1", False),
        (NODE, True),
        ("INSERT INTO knowledge.users (handle) VALUES ('ada')", True),
        ("UPDATE knowledge.users SET display_name = 'Ada'", True),
        ("INSERT INTO knowledge.groups (handle) VALUES ('team')", True),
        ("INSERT INTO knowledge.domains (id, label) VALUES ('d', 'D')", True),
    ],
)
def test_down_refuses_over_any_row_but_the_first_user(database: Database, filling_in: str, refuses: bool) -> None:
    nothing = dump(database)
    bring_up(database, "knowledge", {})
    database.connect("memory_app_a").execute(filling_in.encode())
    if not refuses:
        take_down(database, "knowledge", "zero")
        assert dump(database) == nothing
        return
    with pytest.raises(Refused, match="0001 is not reversible"):
        take_down(database, "knowledge", "zero")
    assert found(database.connect("memory_owner"), applied(database, "knowledge")) == ()


def test_both_histories_know_the_same_secrets(database: Database) -> None:
    """The components stand alone, so each has the function; a pattern added to one belongs into the other too."""
    bring_up(database, "knowledge", {})
    bring_up(database, "control_plane", {})
    bodies = database.connect("postgres").execute("SELECT DISTINCT prosrc FROM pg_proc WHERE proname = 'holds_secret'")
    assert len(bodies.fetchall()) == 1
