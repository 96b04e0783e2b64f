"""
One tenant's recycle: the container is made anew on the same volume, under a live client, and goes back where it is red.

What would be brought back is written down before anything is changed and removed last, so that whoever comes after a
killed run finds it (`settle`): there, too, either the former or the wanted container ends up running.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import psycopg
from pyinfra import host
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.checks import operations as checks_room
from pgberth.container import launch
from pgberth.container.facts import Berth
from pgberth.container.launch import GATE_SECONDS, KILL_SECONDS, Launch
from pgberth.container.spec import STOP_TIMEOUT, ContainerSpec
from pgberth.container.state import TenantState
from pgberth.database import operations as database_room
from pgberth.database.probe import Server
from pgberth.database.session import connect, reached
from pgberth.database.write_probe import CLEAR, LEFTOVER, Beat, Pulse
from pgberth.model import layout
from pgberth.model.killpoint import killpoint
from pgberth.model.problems import Problem
from pgberth.rendering.configuration import reload_files
from pgberth.report.receipt import Receipt
from pgberth.rollout import row_counts as counters

# Checks that a new container may turn green.
_MENDED = frozenset({"container-spec", "container-image", "container-hardened", "container-mounts", "tls-certificate"})

PAGE = "runbooks/recycle-went-back.md"


class Failed(Exception):
    """A step did not do what it should. + problems: why"""

    def __init__(self, *problems: Problem):
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Recycling:
    """A tenant, its receipt, and the steps; each raises Failed where it cannot do what it says."""

    def __init__(self, berth: Berth, receipt: Receipt):
        self.berth, self.receipt = berth, receipt
        self.name = berth.tenant.name
        self.answered = False
        self.pulse: Pulse | None = None

    def refusals(self) -> list[Problem]:
        """Why a tenant that is not well now is not interrupted: afterwards nobody could tell what made it red."""
        checks_room.judged(self.berth, self.receipt, reload_files(self.berth.tenant))
        red = [result for result in self.receipt.failed_checks if result.id not in _MENDED]
        facts = [f"{self.name}: {result.id}: {problem}" for result in red for problem in result.problems]
        hint = f"nothing was done; run deploy/provision.py --limit {self.name} first, or see runbooks/check-is-red.md"
        return [*map(Problem, facts[:-1]), *(Problem(fact, hint) for fact in facts[-1:])]

    def recycle(self, seen: TenantState, spec: ContainerSpec) -> list[Problem]:
        """The wanted container runs, or the former one does again and the value says why."""
        former = launch.running(self.berth, seen, spec.files)
        if isinstance(former, Problem):
            return [former]
        wanted = Launch.wanted(spec)
        with ExitStack() as open_ports:
            places = [open_ports.enter_context(reached(port)) for port in dict.fromkeys((former.port, wanted.port))]
            self.pulse = pulse = Pulse(self.berth.secret("migrator"), *places)
            try:
                before = self._counted("before")
                pulse.start()
            except psycopg.Error as error:
                pulse.give_up()
                return [self._problem(f"its server cannot be written to: {error}", "nothing was done; see make verify")]
            problems = self._attempt(former, wanted, seen.spec)
            return problems + self._proven(pulse, before, seen)

    def _attempt(self, former: Launch, wanted: Launch, found: Any) -> list[Problem]:
        try:
            self._record(former, wanted)
            killpoint("recycle.recorded")
            self._do("the checkpoint", self.berth.superuser("CHECKPOINT;\n"))
            self._all("its files", wanted.written(self.berth, found))
            killpoint("recycle.written")
            self._swapped(wanted, STOP_TIMEOUT)
            killpoint("recycle.swapped")
            self._green(wanted)
            killpoint("recycle.proven")
            self._closed()
        except Failed as red:
            return self.back(former, red.problems)
        self.receipt.did["outcome"] = "recycled"
        return []

    def back(self, former: Launch, why: Iterable[Problem]) -> list[Problem]:
        """The former spec file and its container are back. The value is both reasons: why, and what became of it."""
        reasons = [Problem(problem.fact) for problem in why]
        found = self.berth.look()
        try:
            self._all("the former files", former.written(self.berth, found.spec if found is not None else {}))
            killpoint("recycle.back.written")
            # A server that has answered is stopped in order; one that never did has nothing to write down.
            self._swapped(former, STOP_TIMEOUT if self.answered else KILL_SECONDS)
            killpoint("recycle.back.swapped")
            self._green(former)
            self._closed()
        except Failed as red:
            self.receipt.did["outcome"] = "failed both ways"
            self.receipt.state = "RED both ways"
            facts = [Problem(f"{self.name}: and the former spec {former.hash} is red, too:"), *red.problems]
            return [*reasons, *facts, self._problem("the recycle is not over", f"run it again; {PAGE}")]
        self.receipt.did["outcome"] = "went back"
        self.receipt.state = f"went back: {len(self.receipt.results or ())} passed"
        return [*reasons, self._problem(f"went back to the former spec {former.hash}, which is green", PAGE)]

    def settle(self, seen: TenantState) -> list[Problem]:
        """What a killed recycle began is ended: its container is proven where it answers, the former one comes back."""
        done, output = host.run_shell_command(commands.shell('cat "$1"', layout.recycling_file(self.name), timeout=10))
        try:
            told = json.loads(output.stdout) if done else {}
            former, wanted = (Launch.from_body(told[word]) for word in ("former", "wanted"))
        except (ValueError, KeyError, TypeError):
            path = layout.recycling_file(self.name)
            return [self._problem(f"what an interrupted recycle left in ~/{path} is not understood", PAGE)]
        container = seen.container
        runs = container.spec_hash if container is not None and container.running and container.attended else ""
        if runs and runs not in (former.hash, wanted.hash):
            path = layout.recycling_file(self.name)
            fact = f"~/{path} tells of a recycle from spec {former.hash} to {wanted.hash}, and {runs} runs"
            return [self._problem(fact, f"nothing was done; it is another time's: move it away; {PAGE}")]
        begun = wanted if runs == wanted.hash and runs != former.hash else former
        try:
            if runs != begun.hash:
                raise Failed(self._problem("an interrupted recycle left it without a container of its own"))
            self._all("its files", begun.written(self.berth, seen.spec))
            self._green(begun)
            self._closed()
        except Failed as red:
            return self._settled_back(former, red)
        self.receipt.notes.append(f"an interrupted recycle was ended: spec {begun.hash} runs")
        return []

    def _settled_back(self, former: Launch, red: Failed) -> list[Problem]:
        problems = self.back(former, red.problems)
        if self.receipt.did.pop("outcome") != "went back":
            return problems
        self.receipt.state = ""
        self.receipt.notes.append(f"an interrupted recycle was undone: spec {former.hash} runs")
        return []

    def cleared(self) -> bool:
        """Whether there was something of a killed run's live client, which is gone now."""
        seen = self.berth.look()
        server = Server.of(seen) if seen is not None else None
        if server is None or all(finding.object != LEFTOVER for finding in server.access):
            return False
        self._do("what a live client left", self.berth.superuser(CLEAR))
        return True

    def _proven(self, pulse: Pulse, before: dict[str, int], seen: TenantState) -> list[Problem]:
        """What the live client saw, and what is there now."""
        server, now = Server.of(seen), self.berth.look()
        after = Server.of(now) if now is not None else None
        try:
            beat = pulse.stop()
            counted = self._counted("after")
        except psycopg.Error as error:
            pulse.give_up()
            return [self._problem(f"its live client could not look for what it wrote: {error}", PAGE)]
        self._tell(beat, before, counted)
        problems = []
        if beat.lost:
            problems.append(self._problem(f"acknowledged writes are missing: {beat}", PAGE))
        if server is None or after is None or server.system_identifier != after.system_identifier:
            problems.append(self._problem("another cluster answers than before", PAGE))
        elif server.ledger != after.ledger:
            problems.append(self._problem("its ledger is another than before", PAGE))
        return problems

    def _tell(self, beat: Beat, before: dict[str, int], after: dict[str, int]) -> None:
        self.receipt.notes.append(f"{self.receipt.did.get('outcome', 'recycled')}: {beat}")
        self.receipt.did |= {**vars(beat), "rows_before": before, "rows_after": after}

    def _counted(self, when: str) -> dict[str, int]:
        self.receipt.did[f"counted_{when}"] = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        return counters.rows(self.berth)

    def _record(self, former: Launch, wanted: Launch) -> None:
        body = {"former": former.to_body(), "wanted": wanted.to_body(), "reason": self.receipt.did.get("reason", "")}
        text = json.dumps(body, default=dict, indent=2) + "\n"
        self._do("what would be brought back", self.berth.write(layout.recycling_file(self.name), text))

    def _swapped(self, to: Launch, stop_seconds: int) -> None:
        self.answered = False
        self._do("its container", to.swap(self.berth, stop_seconds=stop_seconds))

    def _green(self, to: Launch) -> None:
        """The gate, then everything that is checked of a tenant."""
        self._logs_in(to.port)
        self.answered = True
        self.berth.forget()
        if self.pulse is None:
            self.cleared()
        elif not self.pulse.felt():
            raise Failed(self._problem("its live client could not write"))
        self._all("connection files", database_room.published(self.berth))
        files = reload_files(self.berth.tenant)
        problems = checks_room.judged(self.berth, self.receipt, files)
        if problems and self._extension_updated():
            problems = checks_room.judged(self.berth, self.receipt, files)
        if problems:
            raise Failed(*problems)

    def _logs_in(self, port: int) -> None:
        seen, password, deadline = self.berth.look(), self.berth.secret("app"), time.monotonic() + GATE_SECONDS
        login = layout.app_login(seen.spec if seen is not None else {})
        said = ""
        while time.monotonic() < deadline:
            try:
                with reached(port) as address, connect(address, login, password, connect_timeout=5) as app:
                    app.execute("SELECT 1")
                    return
            except psycopg.Error as error:
                said = str(error).strip().splitlines()[-1]
            time.sleep(0.1)
        raise Failed(self._problem(f"the app could not log in over TCP within {GATE_SECONDS} s: {said}"))

    def _extension_updated(self) -> bool:
        """Whether pgvector was brought to the image's newer version; nothing else may be red."""
        seen = self.berth.look()
        server = Server.of(seen) if seen is not None else None
        behind = server is not None and server.vector != server.vector_available
        if not behind or {result.id for result in self.receipt.failed_checks} != {"extension"}:
            return False
        update = "\\connect memory\nSET search_path = pg_catalog, pg_temp;\nALTER EXTENSION vector UPDATE;\n"
        self._do("pgvector's update", self.berth.superuser(update))
        return True

    def _closed(self) -> None:
        self._do("the end", self.berth.change('rm -f -- "$1"', layout.recycling_file(self.name)))

    def _all(self, what: str, wanted: Iterable[StringCommand]) -> None:
        for command in wanted:
            self._do(what, command)

    def _do(self, what: str, command: StringCommand) -> None:
        said = self.berth.now(command)
        if said is not None:
            facts = [line for line in said if not line.startswith("HINT: ")]
            own = [line if line.startswith(f"{self.name}: ") else f"{self.name}: {what}: {line}" for line in facts]
            raise Failed(*(Problem(line) for line in own or [f"{self.name}: {what}: {' '.join(said)}"]))

    def _problem(self, fact: str, hint: str = "") -> Problem:
        return Problem(f"{self.name}: {' '.join(fact.split())}", hint)
