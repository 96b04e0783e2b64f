"""The house keeps its rules: floors, no circle, and nothing too long to read."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "deploy/pgberth"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}

# Floor by floor, lowest first: a module may know its own floor and those below it.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"model"}),
    frozenset({"commands", "rendering", "run", "secrets"}),
    frozenset({"inventory"}),
    frozenset({"report"}),
    frozenset({"connectors"}),
    frozenset({"machine"}),
    frozenset({"container"}),
    frozenset({"database"}),
    frozenset({"migrations"}),
    frozenset({"checks", "knowledge"}),
    frozenset({"rollout"}),
    frozenset({"verbs"}),
    frozenset({"cli", "clean"}),
)


def room(module: str) -> str:
    """`pgberth.checks.suite` is in the room `checks`."""
    return [*module.split("."), ""][1]


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def imported(module: str) -> set[str]:
    """Our own modules that this one imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name in MODULES} - {module, "pgberth"}


GRAPH = {module: imported(module) for module in MODULES}


def test_there_is_a_house_to_judge() -> None:
    assert len(MODULES) > 40
    assert sum(map(len, GRAPH.values())) > 100


def test_every_module_has_a_floor() -> None:
    assert [module for module in MODULES if module != "pgberth" and not any(room(module) in it for it in FLOORS)] == []


def test_no_module_knows_a_floor_above_its_own() -> None:
    edges = [(module, known) for module, knows in GRAPH.items() for known in knows if module != "pgberth"]
    assert [f"{module} -> {known}" for module, known in edges if floor(known) > floor(module)] == []


def test_no_import_comes_back_to_where_it_started() -> None:
    done: set[str] = set()

    def follow(module: str, path: list[str]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for known in GRAPH[module]:
                follow(known, [*path, module])
            done.add(module)

    for module in MODULES:
        follow(module, [])


def test_the_model_is_pure() -> None:
    impure = {"pyinfra", "psycopg", "gevent", "click", "subprocess", "socket", "jinja2"}
    assert [module for module in MODULES if room(module) == "model" and everything_imported(module) & impure] == []


def everything_imported(module: str) -> set[str]:
    """Top-level names of all packages that it imports."""
    tree = list(ast.walk(ast.parse(MODULES[module].read_text())))
    names = {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in names}


def test_the_connector_knows_nothing_of_the_rooms() -> None:
    # pyinfra imports it at the start of every run, of other people's deploys too.
    known = {known for module in MODULES if room(module) == "connectors" for known in GRAPH[module]}
    assert {room(module) for module in known} <= {"commands", "connectors", "model", "report", "run"}


def test_a_deploy_is_read_without_the_driver() -> None:
    # Importing psycopg takes a seventh of pyinfra's own start-up; a run that changes nothing opens no session.
    script = "import sys, pgberth.verbs.provision; print([name for name in sys.modules if name.startswith('psycopg')])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_no_file_is_too_long_to_read() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: lines for module, lines in lengths.items() if lines > 300} == {}


def test_no_function_is_too_long_to_read() -> None:
    lengths = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 300
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}


def test_every_module_says_what_it_is() -> None:
    assert [module for module, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_python_starts_programs_in_four_places_only() -> None:
    # The connector, the everyday commands of a local inventory and the clean-up, and what an operator's own inventory
    # names as the source of a password; all else goes through pyinfra.
    starts = r"\b(Popen|subprocess\.(run|call|check_\w+)|os\.(system|popen|exec\w+|spawn\w+))\("
    starters = {module for module, path in MODULES.items() if re.search(starts, path.read_text())}
    assert starters == {"pgberth.connectors.local", "pgberth.secrets.external", "pgberth.clean", "pgberth.cli"}


def test_a_verb_of_the_deploy_folder_is_ten_lines_that_call_one_function() -> None:
    for path in PACKAGE.parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path.name
        code = [node for node in tree.body[1:] if not isinstance(node, ast.ImportFrom)]
        assert [ast.unparse(node) for node in code] == [f"{path.stem}()"]
