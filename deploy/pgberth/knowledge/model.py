"""The embedding model of a knowledge store: its signature, and the code step that binds the store to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from pgberth.migrations import runner
from pgberth.migrations.fresh import Action
from pgberth.migrations.ledger import Connection
from pgberth.migrations.session import Connect
from pgberth.model.problems import Problem, Refused

COMPONENT = "knowledge"
STEP = "register_model"
RESTS_ON = ("0001",)
# The limit of HNSW over the type vector (pgvector's documentation); halfvec would allow 4000.
MOST_DIMENSIONS = 2000


@dataclass(frozen=True)
class EmbeddingModel:
    """
    The signature of a model. Only vectors with the same signature can be compared.

    + dimension: 1 to MOST_DIMENSIONS
    + hash: the embedder's fingerprint of its weights and settings
    """

    name: str
    dimension: int
    hash: str

    def parameters(self) -> dict[str, str | int]:
        """What the ledger records for the step; `registered_model` opens the gate of the index stage."""
        return {"registered_model": self.name, "model_dimension": self.dimension, "model_hash": self.hash}

    def __str__(self) -> str:
        return f"{self.name}, dimension {self.dimension}, hash {self.hash}"


def model_from(data: Mapping[str, str]) -> EmbeddingModel:
    """
    The model that --data names.

    + data: model, dimension and hash, as typed

    Raises Refused with every mistake.
    """
    name, fingerprint = data.get("model", "").strip(), data.get("hash", "").strip()
    missing = [key for key, value in (("model", name), ("hash", fingerprint)) if not value]
    problems = [Problem(f"--data {key} is missing", _FORM) for key in missing]
    typed = data.get("dimension", "")
    if not re.fullmatch(r"[0-9]{1,9}", typed) or not _indexable(int(typed)):
        fact = f"--data dimension={typed!r} must be a whole number from 1 to {MOST_DIMENSIONS}"
        problems.append(Problem(fact, f"HNSW over vector allows {MOST_DIMENSIONS} at most; {_FORM}"))
    if problems:
        raise Refused(problems)
    return EmbeddingModel(name, int(typed), fingerprint)


def _indexable(dimension: int) -> bool:
    return 1 <= dimension <= MOST_DIMENSIONS


_FORM = "say --data model=NAME --data dimension=N --data hash=FINGERPRINT"


def register(connect: Connect, model: EmbeddingModel) -> bool:
    """
    Bind the store to the model: set the column's dimension, write the registry row, record the step.

    Returns True if it changed anything. Raises Refused for a dimension that cannot be indexed, for a signature that
    differs from the registered one, and for rows of another dimension; the message names both.
    """
    if not _indexable(model.dimension):
        fact = f"{model} cannot be indexed: a dimension must be from 1 to {MOST_DIMENSIONS}"
        raise Refused.because(fact, f"HNSW over vector allows {MOST_DIMENSIONS} at most; nothing was changed")
    return runner.run_code(
        connect, COMPONENT, STEP, model.parameters(), lambda connection: _stamp(connection, model), after=RESTS_ON
    )


def repeat(connection: Connection, recorded: Mapping[str, Any]) -> bool:
    """Repeat the step in another database, with the parameters that the ledger recorded."""
    model = EmbeddingModel(recorded["registered_model"], recorded["model_dimension"], recorded["model_hash"])
    return _stamp(connection, model)


def _stamp(connection: Connection, model: EmbeddingModel) -> bool:
    connection.execute("SET LOCAL lock_timeout = '3s'")
    registered = _registered(connection)
    if registered is not None and registered != model:
        fact = f"knowledge is registered for {registered}; not for {model}"
        raise Refused.because(fact, "vectors of two models never mix: re-embed into a store of its own")
    _refuse_other_rows(connection, model)
    changed = False
    if _stamped_dimension(connection) != model.dimension:
        column = sql.SQL("ALTER TABLE knowledge.knowledge_nodes ALTER COLUMN embedding TYPE public.vector({})")
        connection.execute(column.format(sql.Literal(model.dimension)))
        changed = True
    if registered is None:
        connection.execute(
            "INSERT INTO knowledge.embedding_model (name, dimension, hash) VALUES (%s, %s, %s)",
            [model.name, model.dimension, model.hash],
        )
        changed = True
    return changed


def _registered(connection: Connection) -> EmbeddingModel | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT name, dimension, hash FROM knowledge.embedding_model").fetchone()
    return EmbeddingModel(**row) if row is not None else None


def _stamped_dimension(connection: Connection) -> int:
    """-1 for a column without a dimension, as pg_attribute has it."""
    query = """SELECT atttypmod FROM pg_attribute
                WHERE attrelid = 'knowledge.knowledge_nodes'::regclass AND attname = 'embedding'"""
    return int(_one(connection, query))


def _refuse_other_rows(connection: Connection, model: EmbeddingModel) -> None:
    query = "SELECT count(*) FROM knowledge.knowledge_nodes WHERE public.vector_dims(embedding) <> %s"
    others = int(_one(connection, query, [model.dimension]))
    if others:
        fact = f"knowledge_nodes holds {others} embeddings of another dimension than {model.dimension}"
        raise Refused.because(fact, "set them to NULL, or register the model they are of; nothing was changed")


def _one(connection: Connection, query: Any, parameters: Any = None) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row is not None else None


# What each code step does, by the name under which the ledger records it, so that a step can be repeated.
CODE_STEPS: Mapping[str, Action] = {STEP: repeat}
