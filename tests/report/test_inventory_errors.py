"""An error in a Python file of the inventory becomes file, line and message; an error of ours keeps its trace."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from pyinfra.context import ctx_state

from pgberth.model.problems import Refused
from pgberth.report.inventory_errors import explain

with mock.patch("gevent.monkey.patch_all"):
    from pyinfra_cli.util import exec_file

HEAD = "from pgberth.inventory import ALL, Image, machine, tenant\n_here = machine('@local')\n"


def explained(path: Path) -> str:
    """How an error in this file is explained; "" where pyinfra shows it."""
    with ctx_state.use(SimpleNamespace(current_exec_filename=None)):
        try:
            exec_file(str(path))
        except Exception as error:  # noqa: BLE001  (whatever it is, it is judged)
            found = explain(error)
            return "" if found is None else str(found)
        finally:
            ctx_state.reset()
    raise AssertionError("the file has no fault")


# The third line of the file, and the message.
ERRORS: list[tuple[str, str]] = [
    ("canary = [tennant('a')]", "name 'tennant' is not defined (did you mean 'tenant'?)"),
    ("canary = [tenant('a', on=_her)]", "name '_her' is not defined (did you mean '_here'?)"),
    ("canary = [tenant('a', _here)]", "tenant() takes 1 positional argument but 2 were given"),
    ("canary = [tenant(port=5501)]", "tenant() missing 1 required positional argument: 'name'"),
    ("machines = [machine('db1', 'root')]", "machine() takes 1 positional argument but 2 were given"),
    ("machines = [_here.hots]", "'MachineLine' object has no attribute 'hots'"),
    ("image = Image(sweet='sid')", "got an unexpected keyword argument 'sweet'"),
    ("from pgberth.model import tennant", "cannot import name 'tennant' from 'pgberth.model'"),
    ("import no_such_module_here", "No module named 'no_such_module_here'"),
    ("x = {}['acme']", "KeyError: 'acme'"),
    ("x = 1 / 0", "ZeroDivisionError: division by zero"),
    ("x = open('/no/such/file')", "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'"),
    ("canary = [tenant('a', on=_here)", "'[' was never closed"),
    ("canary = [tenant('a', port=1, port=2)]", "keyword argument repeated: port"),
    ("  canary = []", "unexpected indent"),
    ("x = 0777", "leading zeros in decimal integer literals are not permitted"),
]


@pytest.mark.parametrize(("line", "says"), ERRORS, ids=[line for line, _ in ERRORS])
def test_an_error_is_reported_with_its_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "inventories/prod.py"
    path.parent.mkdir()
    path.write_text(f"{HEAD}{line}\n")
    fact, hint = explained(path).splitlines()
    assert fact.startswith("inventories/prod.py:3: ")
    assert says in fact
    assert hint.startswith("HINT: correct it; nothing was touched")


def test_an_error_deeper_in_the_file_is_reported_at_the_innermost_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "prod.py"
    path.write_text(f"{HEAD}def ports(n):\n    return n + x\n\n\ncanary = [ports(1)]\n")
    assert f"{tmp_path.name}/prod.py:4: name 'x' is not defined" in explained(path)


def test_a_refusal_inside_the_file_is_reported_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "prod.py"
    path.write_text("from pgberth.model.problems import Refused\nraise Refused.because('acme: no', 'look')\n")
    assert explained(path) == "acme: no\nHINT: look"


def test_a_fault_of_ours_keeps_its_stack_trace() -> None:
    deploy = Path(__file__).resolve().parents[2] / "deploy"
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as fault:
        assert explain(SimpleNamespace(exception=fault, filename=str(deploy / "provision.py"))) is None  # type: ignore[arg-type]
        assert explain(fault) is None
    broken = SyntaxError("bad", (str(deploy / "pgberth/report/closing.py"), 1, 1, ""))
    assert explain(broken) is None
    assert explain(None) is explain(SystemExit(1)) is None
    assert isinstance(explain(Refused.because("x")), Refused)
