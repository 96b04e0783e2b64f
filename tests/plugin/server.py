"""
The memory plugin's contract v1 over HTTP, on the tables that the bundle makes.

Runs inside a container of its own with Debian's Python and psycopg, and knows nothing of the bundle: no statement names
a schema, so that the connection's search_path alone leads to the tables.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
from psycopg.rows import dict_row

NAMESPACE = re.compile(r"[a-z]+:[A-Za-z0-9_:.-]+")
VERSION = {"version": "1.0.0", "capabilities": ["embedding", "fts", "ttl", "pin", "propagation"]}

PUT_NAMESPACE = """
INSERT INTO memory_namespaces (name, kind, expires_at, metadata)
VALUES (%(name)s, %(kind)s, %(expires_at)s, %(metadata)s::jsonb)
ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, expires_at = excluded.expires_at, metadata = excluded.metadata
RETURNING name, kind
"""
POST_MEMORY = """
INSERT INTO memory_records (id, namespace, content, kind, source, expires_at, propagation, pin, embedding)
VALUES (coalesce(%(id)s::uuid, gen_random_uuid()), %(namespace)s, %(content)s, %(kind)s, %(source)s, %(expires_at)s,
        %(propagation)s::jsonb, coalesce(%(pin)s, false), %(embedding)s::vector)
ON CONFLICT (id) DO UPDATE SET content = excluded.content, kind = excluded.kind, source = excluded.source
WHERE memory_records.namespace = excluded.namespace
RETURNING id::text, namespace
"""
SEARCH = """
SELECT id::text, namespace, content, kind, source, {score} AS score FROM memory_records
WHERE namespace = ANY(%(namespaces)s) AND (expires_at IS NULL OR expires_at > now())
  AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s)) AND {condition}
ORDER BY {order} LIMIT %(limit)s
"""
MODES = {
    "embedding": ("1 - (embedding <=> %(embedding)s::vector)", "embedding IS NOT NULL", "score DESC"),
    "text": (
        "ts_rank(content_tsv, plainto_tsquery('english', %(query)s))",
        "content_tsv @@ plainto_tsquery('english', %(query)s)",
        "score DESC",
    ),
    "letter": ("NULL::float4", "strpos(lower(content), lower(%(query)s)) > 0", "created_at DESC"),
    "all": ("NULL::float4", "true", "pin DESC, created_at DESC"),
}


class Refused(Exception):
    """An answer other than success: status, code, message."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def route(self) -> tuple[int, Any]:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        asked = f"{self.command} {path}"
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, asked):
                return answer(self, *found.groups())
        raise Refused(404, "not_found", f"no {asked}")

    def body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        try:
            told = json.loads(self.rfile.read(length) or "{}")
        except ValueError:
            raise Refused(400, "bad_request", "the body is not JSON") from None
        if not isinstance(told, dict):
            raise Refused(400, "bad_request", "the body is no object")
        return told

    def answer(self) -> None:
        try:
            status, told = self.route()
        except Refused as refused:
            status, code, message = refused.args
            told = {"code": code, "message": message}
        except psycopg.Error as error:
            # Never the detail: it could show a row.
            status, told = 500, {"code": "internal", "message": type(error).__name__}
        text = b"" if told is None else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_PATCH = do_POST = do_DELETE = answer


def query(statement: str, **values: Any) -> list[dict[str, Any]]:
    with psycopg.connect(os.environ["MEMORY_PLUGIN_DATABASE_URL"], connect_timeout=2, row_factory=dict_row) as session:
        return session.execute(statement.encode(), values).fetchall()


def health(_: Handler) -> tuple[int, Any]:
    try:
        query("SELECT FROM memory_records LIMIT 1")
    except psycopg.Error as error:
        return 503, {"status": "unavailable", **VERSION, "message": type(error).__name__}
    return 200, {"status": "ok", **VERSION}


def put_namespace(handler: Handler, name: str) -> tuple[int, Any]:
    told = handler.body()
    if not NAMESPACE.fullmatch(name) or len(name) > 256 or "kind" not in told:
        raise Refused(400, "bad_request", "a namespace has a name such as workspace:x, and a kind")
    metadata = json.dumps(told.get("metadata"))
    values = {"kind": told["kind"], "expires_at": told.get("expires_at"), "metadata": metadata}
    return 200, query(PUT_NAMESPACE, name=name, **values)[0]


def delete_namespace(_: Handler, name: str) -> tuple[int, Any]:
    if not query("DELETE FROM memory_namespaces WHERE name = %(name)s RETURNING name", name=name):
        raise Refused(404, "not_found", "no such namespace")
    return 204, None


def post_memory(handler: Handler, namespace: str) -> tuple[int, Any]:
    told = handler.body()
    if not str(told.get("content", "")).strip():
        raise Refused(400, "bad_request", "content is blank")
    names = ("id", "content", "kind", "source", "expires_at", "pin")
    embedding = told.get("embedding")
    values = {name: told.get(name) for name in names} | {"embedding": None if embedding is None else str(embedding)}
    propagation = json.dumps(told["propagation"]) if "propagation" in told else None
    made = query(POST_MEMORY, namespace=namespace, propagation=propagation, **values)
    if not made:
        raise Refused(400, "bad_request", "this id is of another namespace")
    return 201, made[0]


def search(handler: Handler) -> tuple[int, Any]:
    told = handler.body()
    limit, text = told.get("limit", 20), told.get("query") or ""
    if not told.get("namespaces") or not isinstance(limit, int) or not 0 <= limit <= 100:
        raise Refused(400, "bad_request", "namespaces and a limit from 0 to 100 are needed")
    mode = "embedding" if told.get("embedding") else ("all", "letter", "text")[min(len(text), 2)]
    score, condition, order = MODES[mode]
    values = {"namespaces": told["namespaces"], "kinds": told.get("kinds"), "limit": limit, "query": text}
    found = query(
        SEARCH.format(score=score, condition=condition, order=order), embedding=str(told.get("embedding")), **values
    )
    return 200, {"memories": found}


ROUTES = (
    (r"GET /v1/health", health),
    (r"PUT /v1/namespaces/([^/]+)", put_namespace),
    (r"DELETE /v1/namespaces/([^/]+)", delete_namespace),
    (r"POST /v1/namespaces/([^/]+)/memories", post_memory),
    (r"POST /v1/search", search),
)


if __name__ == "__main__":
    if os.environ.get("MEMORY_PLUGIN_SKIP_MIGRATE") != "1":
        sys.exit("this plugin has no migrations of its own: MEMORY_PLUGIN_SKIP_MIGRATE=1")
    host, _, port = os.environ["MEMORY_PLUGIN_LISTEN_ADDR"].rpartition(":")
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
