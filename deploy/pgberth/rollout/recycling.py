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
from pgberth.container.context import TenantContext
from pgberth.container.launch import GATE_SECONDS, KILL_SECONDS, ContainerLaunch
from pgberth.container.spec import STOP_TIMEOUT, ContainerSpec
from pgberth.container.state import TenantState
from pgberth.database import operations as database_room
from pgberth.database.probe import Server
from pgberth.database.session import connect, reached
from pgberth.database.write_probe import CLEAR, LEFTOVER, WriteProbe, WriteReport
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

    def __init__(self, context: TenantContext, receipt: Receipt):
        self.context, self.receipt = context, receipt
        self.name = context.tenant.name
        self.answered = False
        self.write_probe: WriteProbe | None = None

    def refusals(self) -> list[Problem]:
        """Why a tenant that is not well now is not interrupted: afterwards nobody could tell what made it red."""
        checks_room.judged(self.context, self.receipt, reload_files(self.context.tenant))
        red = [result for result in self.receipt.failed_checks if result.id not in _MENDED]
        facts = [f"{self.name}: {result.id}: {problem}" for result in red for problem in result.problems]
        hint = f"nothing was done; run deploy/provision.py --limit {self.name} first, or see runbooks/check-is-red.md"
        return [*map(Problem, facts[:-1]), *(Problem(fact, hint) for fact in facts[-1:])]

    def recycle(self, observed: TenantState, spec: ContainerSpec) -> list[Problem]:
        """The wanted container runs, or the former one does again and the value says why."""
        previous = launch.running(self.context, observed, spec.files)
        if isinstance(previous, Problem):
            return [previous]
        desired = ContainerLaunch.desired(spec)
        with ExitStack() as open_ports:
            places = [open_ports.enter_context(reached(port)) for port in dict.fromkeys((previous.port, desired.port))]
            self.write_probe = write_probe = WriteProbe(self.context.secret("migrator"), *places)
            try:
                before = self._counted("before")
                write_probe.start()
            except psycopg.Error as error:
                write_probe.give_up()
                return [self._problem(f"its server cannot be written to: {error}", "nothing was done; see make verify")]
            problems = self._attempt(previous, desired, observed.spec)
            return problems + self._proven(write_probe, before, observed)

    def _attempt(self, previous: ContainerLaunch, desired: ContainerLaunch, found: Any) -> list[Problem]:
        try:
            self._record(previous, desired)
            killpoint("recycle.recorded")
            self._do("the checkpoint", self.context.superuser("CHECKPOINT;\n"))
            self._all("its files", desired.written(self.context, found))
            killpoint("recycle.written")
            self._swapped(desired, STOP_TIMEOUT)
            killpoint("recycle.swapped")
            self._green(desired)
            killpoint("recycle.proven")
            self._closed()
        except Failed as red:
            return self.back(previous, red.problems)
        self.receipt.did["outcome"] = "recycled"
        return []

    def back(self, previous: ContainerLaunch, why: Iterable[Problem]) -> list[Problem]:
        """The former spec file and its container are back. The value is both reasons: why, and what became of it."""
        reasons = [Problem(problem.fact) for problem in why]
        found = self.context.observe()
        try:
            self._all("the former files", previous.written(self.context, found.spec if found is not None else {}))
            killpoint("recycle.back.written")
            # A server that has answered is stopped in order; one that never did has nothing to write down.
            self._swapped(previous, STOP_TIMEOUT if self.answered else KILL_SECONDS)
            killpoint("recycle.back.swapped")
            self._green(previous)
            self._closed()
        except Failed as red:
            self.receipt.did["outcome"] = "failed both ways"
            self.receipt.state = "RED both ways"
            facts = [Problem(f"{self.name}: and the former spec {previous.hash} is red, too:"), *red.problems]
            return [*reasons, *facts, self._problem("the recycle is not over", f"run it again; {PAGE}")]
        self.receipt.did["outcome"] = "went back"
        self.receipt.state = f"went back: {len(self.receipt.results or ())} passed"
        return [*reasons, self._problem(f"went back to the former spec {previous.hash}, which is green", PAGE)]

    def settle(self, observed: TenantState) -> list[Problem]:
        """What a killed recycle began is ended: its container is proven where it answers, the former one comes back."""
        done, output = host.run_shell_command(commands.shell('cat "$1"', layout.recycling_file(self.name), timeout=10))
        try:
            told = json.loads(output.stdout) if done else {}
            previous, desired = (ContainerLaunch.from_body(told[word]) for word in ("former", "wanted"))
        except (ValueError, KeyError, TypeError):
            path = layout.recycling_file(self.name)
            return [self._problem(f"what an interrupted recycle left in ~/{path} is not understood", PAGE)]
        container = observed.container
        runs = container.spec_hash if container is not None and container.running and container.reachable else ""
        if runs and runs not in (previous.hash, desired.hash):
            path = layout.recycling_file(self.name)
            fact = f"~/{path} tells of a recycle from spec {previous.hash} to {desired.hash}, and {runs} runs"
            return [self._problem(fact, f"nothing was done; it is another time's: move it away; {PAGE}")]
        begun = desired if runs == desired.hash and runs != previous.hash else previous
        try:
            if runs != begun.hash:
                raise Failed(self._problem("an interrupted recycle left it without a container of its own"))
            self._all("its files", begun.written(self.context, observed.spec))
            self._green(begun)
            self._closed()
        except Failed as red:
            return self._settled_back(previous, red)
        self.receipt.notes.append(f"an interrupted recycle was ended: spec {begun.hash} runs")
        return []

    def _settled_back(self, previous: ContainerLaunch, red: Failed) -> list[Problem]:
        problems = self.back(previous, red.problems)
        if self.receipt.did.pop("outcome") != "went back":
            return problems
        self.receipt.state = ""
        self.receipt.notes.append(f"an interrupted recycle was undone: spec {previous.hash} runs")
        return []

    def cleared(self) -> bool:
        """Whether there was something of a killed run's live client, which is gone now."""
        observed = self.context.observe()
        server = Server.of(observed) if observed is not None else None
        if server is None or all(finding.object != LEFTOVER for finding in server.access):
            return False
        self._do("what a live client left", self.context.superuser(CLEAR))
        return True

    def _proven(self, write_probe: WriteProbe, before: dict[str, int], observed: TenantState) -> list[Problem]:
        """What the live client saw, and what is there now."""
        server, now = Server.of(observed), self.context.observe()
        after = Server.of(now) if now is not None else None
        try:
            report = write_probe.stop()
            counted = self._counted("after")
        except psycopg.Error as error:
            write_probe.give_up()
            return [self._problem(f"its live client could not look for what it wrote: {error}", PAGE)]
        self._tell(report, before, counted)
        problems = []
        if report.lost:
            problems.append(self._problem(f"acknowledged writes are missing: {report}", PAGE))
        if server is None or after is None or server.system_identifier != after.system_identifier:
            problems.append(self._problem("another cluster answers than before", PAGE))
        elif server.ledger != after.ledger:
            problems.append(self._problem("its ledger is another than before", PAGE))
        return problems

    def _tell(self, report: WriteReport, before: dict[str, int], after: dict[str, int]) -> None:
        self.receipt.notes.append(f"{self.receipt.did.get('outcome', 'recycled')}: {report}")
        self.receipt.did |= {**vars(report), "rows_before": before, "rows_after": after}

    def _counted(self, when: str) -> dict[str, int]:
        self.receipt.did[f"counted_{when}"] = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        return counters.rows(self.context)

    def _record(self, previous: ContainerLaunch, desired: ContainerLaunch) -> None:
        body = {"former": previous.to_body(), "wanted": desired.to_body(), "reason": self.receipt.did.get("reason", "")}
        text = json.dumps(body, default=dict, indent=2) + "\n"
        self._do("what would be brought back", self.context.write(layout.recycling_file(self.name), text))

    def _swapped(self, to: ContainerLaunch, stop_seconds: int) -> None:
        self.answered = False
        self._do("its container", to.swap(self.context, stop_seconds=stop_seconds))

    def _green(self, to: ContainerLaunch) -> None:
        """The gate, then everything that is checked of a tenant."""
        self._logs_in(to.port)
        self.answered = True
        self.context.invalidate()
        if self.write_probe is None:
            self.cleared()
        elif not self.write_probe.wait_for_write():
            raise Failed(self._problem("its live client could not write"))
        self._all("connection files", database_room.published(self.context))
        files = reload_files(self.context.tenant)
        problems = checks_room.judged(self.context, self.receipt, files)
        if problems and self._extension_updated():
            problems = checks_room.judged(self.context, self.receipt, files)
        if problems:
            raise Failed(*problems)

    def _logs_in(self, port: int) -> None:
        observed, password, deadline = (
            self.context.observe(),
            self.context.secret("app"),
            time.monotonic() + GATE_SECONDS,
        )
        login = layout.app_login(observed.spec if observed is not None else {})
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
        observed = self.context.observe()
        server = Server.of(observed) if observed is not None else None
        behind = server is not None and server.vector != server.vector_available
        if not behind or {result.id for result in self.receipt.failed_checks} != {"extension"}:
            return False
        update = "\\connect memory\nSET search_path = pg_catalog, pg_temp;\nALTER EXTENSION vector UPDATE;\n"
        self._do("pgvector's update", self.context.superuser(update))
        return True

    def _closed(self) -> None:
        self._do("the end", self.context.change('rm -f -- "$1"', layout.recycling_file(self.name)))

    def _all(self, what: str, desired: Iterable[StringCommand]) -> None:
        for command in desired:
            self._do(what, command)

    def _do(self, what: str, command: StringCommand) -> None:
        said = self.context.now(command)
        if said is not None:
            facts = [line for line in said if not line.startswith("HINT: ")]
            own = [line if line.startswith(f"{self.name}: ") else f"{self.name}: {what}: {line}" for line in facts]
            raise Failed(*(Problem(line) for line in own or [f"{self.name}: {what}: {' '.join(said)}"]))

    def _problem(self, fact: str, hint: str = "") -> Problem:
        return Problem(f"{self.name}: {' '.join(fact.split())}", hint)
