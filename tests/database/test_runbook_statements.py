"""What a runbook page tells an operator to send to a server, sent to a real one."""

from __future__ import annotations

import re

from tests.postgres import Database
from tests.runbook import page


def statement(name: str, number: int) -> str:
    """The SQL that this step of a page pipes into psql."""
    (step,) = [one for one in page(name).steps if one.number == number]
    found = re.match(r'echo "(.+?)" \|', step.commands[0])
    assert found, step.commands
    return found[1]


def test_sessions_without_a_name_are_shown_and_ended_by_the_name_that_the_page_gives_them(database: Database) -> None:
    superuser = database.connect("postgres")
    named, unnamed = database.connect("memory_app_a"), database.connect("memory_app_a")
    named.execute("SET application_name = 'worker'")
    unnamed.execute("SET application_name = ''")
    pids = [session.info.backend_pid for session in (named, unnamed)]
    rows = superuser.execute(statement("no-free-connection", 2).encode()).fetchall()
    shown = {row[0]: row[2] for row in rows}
    assert [shown[pid] for pid in pids] == ["worker", "without a name"]
    end = statement("no-free-connection", 4)
    assert superuser.execute(end.replace("APPLICATION", shown[pids[1]]).encode()).fetchone() == (1,)
    left = superuser.execute("SELECT pid FROM pg_stat_activity WHERE pid = ANY (%s)", [pids]).fetchall()
    assert (pids[0],) in left
