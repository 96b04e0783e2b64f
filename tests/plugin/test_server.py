"""The test plugin keeps the contract, on the real schema and a URL that our own function made; no container here."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pgberth.model.url import with_search_path
from tests.contract.components import standing
from tests.deploy.processes import eventually
from tests.deploy.site import free_port
from tests.postgres import Database, Server

SERVER = Path(__file__).with_name("server.py")
PLACE = "/v1/namespaces/workspace:a%3Ab"
FACT = {"content": "The ferry leaves at dawn.", "kind": "fact", "source": "user"}


@dataclass(frozen=True)
class Plugin:
    """A running plugin and the database it works on."""

    port: int
    database: Database

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body if isinstance(body, str) else json.dumps(body) if body else None)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def healthy(self) -> bool:
        try:
            return self.ask("GET", "/v1/health")[0] == 200
        except ConnectionError:
            return False


@pytest.fixture(scope="module")
def plugin(postgres18: Server) -> Iterator[Plugin]:
    with standing(postgres18, "memory_plugin") as database:
        url = f"postgresql://memory_app_a:{postgres18.password}@127.0.0.1:{postgres18.port}/{database.name}"
        made = Plugin(free_port(), database)
        environment = {
            "MEMORY_PLUGIN_DATABASE_URL": with_search_path(url, "memory_plugin"),
            "MEMORY_PLUGIN_SKIP_MIGRATE": "1",
            "MEMORY_PLUGIN_LISTEN_ADDR": f"127.0.0.1:{made.port}",
        }
        quiet = subprocess.DEVNULL
        command = [sys.executable, str(SERVER)]
        with subprocess.Popen(command, env={**os.environ, **environment}, stderr=quiet) as process:
            try:
                assert eventually(made.healthy)
                yield made
            finally:
                process.terminate()


def test_a_memory_that_was_posted_is_found_and_lies_in_the_plugins_schema(plugin: Plugin) -> None:
    assert plugin.ask("PUT", PLACE, {"kind": "workspace", "metadata": {}})[0] == 200
    status, made = plugin.ask("POST", f"{PLACE}/memories", FACT)
    assert (status, made["namespace"]) == (201, "workspace:a:b")
    for asked in ({"query": "ferries"}, {"query": "y"}, {}, {"kinds": ["fact"]}):
        status, told = plugin.ask("POST", "/v1/search", {"namespaces": ["workspace:a:b"], **asked})
        assert (status, [one["id"] for one in told["memories"]]) == (200, [made["id"]]), asked
    rows = plugin.database.connect("postgres").execute(
        "SELECT count(*), to_regclass('public.memory_records') FROM memory_plugin.memory_records"
    )
    assert rows.fetchone() == (1, None)


def test_what_is_near_is_found_by_its_vector(plugin: Plugin) -> None:
    plugin.ask("PUT", "/v1/namespaces/team:near", {"kind": "team"})
    near = [1.0] + [0.0] * 1535
    _, made = plugin.ask("POST", "/v1/namespaces/team:near/memories", {**FACT, "embedding": near})
    status, told = plugin.ask("POST", "/v1/search", {"namespaces": ["team:near"], "embedding": near})
    assert (status, [(one["id"], one["score"]) for one in told["memories"]]) == (200, [(made["id"], 1.0)])


@pytest.mark.parametrize("metadata", [{}, {"metadata": None}, {"metadata": {}}, {"metadata": {"a": 1}}])
def test_metadata_may_be_absent_null_or_an_object(metadata: dict[str, Any], plugin: Plugin) -> None:
    assert plugin.ask("PUT", "/v1/namespaces/team:meta", {"kind": "team", **metadata})[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v1/namespaces/Nonsense", {"kind": "team"}, 400),
        ("PUT", "/v1/namespaces/team:x", {}, 400),
        ("PUT", "/v1/namespaces/team:x", "no json", 400),
        ("POST", f"{PLACE}/memories", {**FACT, "content": " \n"}, 400),
        ("POST", "/v1/namespaces/team:never-put/memories", FACT, 500),
        ("POST", "/v1/search", {"namespaces": []}, 400),
        ("POST", "/v1/search", {"namespaces": ["team:x"], "limit": 101}, 400),
        ("DELETE", "/v1/namespaces/team:nobody", None, 404),
        ("GET", "/v2/health", None, 404),
    ],
)
def test_what_is_not_as_agreed_is_refused(method: str, path: str, body: Any, status: int, plugin: Plugin) -> None:
    found, told = plugin.ask(method, path, body)
    assert (found, set(told)) == (status, {"code", "message"})


def test_a_namespace_goes_with_its_memories(plugin: Plugin) -> None:
    plugin.ask("PUT", "/v1/namespaces/team:gone", {"kind": "team"})
    plugin.ask("POST", "/v1/namespaces/team:gone/memories", FACT)
    assert plugin.ask("DELETE", "/v1/namespaces/team:gone") == (204, None)
    assert plugin.ask("POST", "/v1/search", {"namespaces": ["team:gone"]}) == (200, {"memories": []})
