"""
One tenant's recycle: a new container on the same volume, while a probe writes, and the previous one where it is red.

What would be brought back is recorded before anything is changed, and removed last. So the run after a killed one finds
it (`settle`): there, too, either the previous or the desired container ends up running.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import psycopg
from pyinfra.api import StringCommand

from pgberth.container.context import TenantContext
from pgberth.container.launch import GATE_SECONDS, KILL_SECONDS, ContainerLaunch, running_launch
from pgberth.container.spec import STOP_TIMEOUT, ContainerSpec
from pgberth.container.state import TenantState
from pgberth.database.operations import publish, repair_access, repair_configuration
from pgberth.database.session import prove_login, reached
from pgberth.database.write_probe import CLEAR, LEFTOVER, WriteProbe, WriteReport
from pgberth.model import layout
from pgberth.model.killpoint import killpoint
from pgberth.model.problems import Problem, Refused
from pgberth.report.table import checks
from pgberth.rollout import row_counts
from pgberth.rollout.judgement import caused, described, preventing, red_checks, repair
from pgberth.rollout.plugin_swap import PluginSwap
from pgberth.rollout.record import PAGE, RecycleRecord

_UPDATE_EXTENSION = "\\connect memory\nSET search_path = pg_catalog, pg_temp;\nALTER EXTENSION vector UPDATE;\n"


class RecycleAttempt:
    """
    A tenant and the steps of its recycle; each step raises Refused where it fails.

    What a killed run or an operator left wrong is repaired before anything is judged, and only checks that a swap can
    change decide about one: see `judgement`.
    """

    def __init__(self, context: TenantContext):
        self.context, self.receipt, self.name = context, context.receipt, context.name
        self.answered = False
        self.probe: WriteProbe | None = None
        self.red_before: frozenset[str] = frozenset()
        self.plugin = PluginSwap(context)

    def refusals(self) -> list[Problem]:
        """Why a tenant is not interrupted now: afterwards nobody could say what made it red."""
        repair(self.context)
        try:
            red = red_checks(self.context)
            self.plugin = PluginSwap.before(self.context)
        except Refused as refused:
            return list(refused.problems)
        self.red_before = frozenset(result.id for result in red)
        hint = f"nothing was done; run deploy/provision.py --limit {self.name} first, or see runbooks/check-is-red.md"
        return described(self.name, preventing(red), hint)

    def recycle(self, spec: ContainerSpec) -> list[Problem]:
        """The desired container runs; or the previous one runs again and the value says why."""
        observed, desired = self.context.observe(), ContainerLaunch.desired(spec)
        try:
            previous = running_launch(self.context, spec.files)
        except Refused as refused:
            return list(refused.problems)
        with ExitStack() as open_ports:
            places = [open_ports.enter_context(reached(port)) for port in dict.fromkeys((previous.port, desired.port))]
            self.probe = probe = WriteProbe(self.context.secret("migrator"), *places)
            try:
                before = self._count_rows("before")
                probe.start()
            except psycopg.Error as error:
                probe.give_up()
                return [self._problem(f"its server cannot be written to: {error}", "nothing was done; see make verify")]
            problems = self._attempt(previous, desired)
            return problems + self._compare(probe, before, observed)

    def _attempt(self, previous: ContainerLaunch, desired: ContainerLaunch) -> list[Problem]:
        try:
            reason = self.receipt.did.get("reason", "")
            record = RecycleRecord(previous, desired, self.plugin, self.red_before, reason)
            self._run("what would be brought back", record.written(self.context))
            killpoint("recycle.recorded")
            self._run("the checkpoint", self.context.superuser("CHECKPOINT;\n"))
            self._run_all("its files", desired.write_files(self.context))
            killpoint("recycle.written")
            self._swap(desired, STOP_TIMEOUT)
            killpoint("recycle.swapped")
            self._prove(desired)
            killpoint("recycle.proven")
            self._forget_record()
        except Refused as red:
            return self.go_back(previous, red.problems)
        self.receipt.did["outcome"] = "recycled"
        return self._end_plugin()

    def go_back(self, previous: ContainerLaunch, why: Iterable[Problem]) -> list[Problem]:
        """
        The previous container runs; one that runs already is left alone. The value says why, and what came of it.

        It is over once that container serves the app: its checks are reported, and nothing is swapped for them.
        """
        reasons = [Problem(problem.fact) for problem in why]
        self.context.observe()
        try:
            self._run_all("the previous files", previous.write_files(self.context))
            killpoint("recycle.back.written")
            if self._running_spec() != previous.hash:
                # A server that has answered is stopped in order; one that never did has nothing to write to its disk.
                self._swap(previous, STOP_TIMEOUT if self.answered else KILL_SECONDS)
            killpoint("recycle.back.swapped")
            self._serve(previous)
            self._run_all("its memory plugin", self.plugin.back())
            self._forget_record()
            red = red_checks(self.context)
        except Refused as failed:
            self.receipt.did["outcome"] = "failed both ways"
            self.receipt.state = "RED both ways"
            facts = [Problem(f"{self.name}: and the previous spec {previous.hash} is red, too:"), *failed.problems]
            return [*reasons, *facts, self._problem("the recycle is not over", f"run it again; {PAGE}")]
        self.receipt.did["outcome"] = "went back"
        self.receipt.state = f"went back: {checks(self.receipt, failed=bool(red))}"
        said = f"is red in {', '.join(result.id for result in red)}, too" if red else "is green"
        return [*reasons, self._problem(f"went back to the previous spec {previous.hash}, which {said}", PAGE)]

    def settle(self) -> list[Problem]:
        """
        End what a killed recycle began.

        The previous container, where it runs, is what a failed recycle would restore: it stays, whatever its checks
        say. The desired one stays where it is green in what a swap can change. Otherwise the previous one is restored.
        """
        record = RecycleRecord.read(self.context)
        previous, desired, self.plugin, self.red_before = record.previous, record.desired, record.plugin, record.red
        runs = self._running_spec()
        if runs and runs not in (previous.hash, desired.hash):
            path = layout.recycling_file(self.name)
            fact = f"~/{path} records a recycle from spec {previous.hash} to {desired.hash}, and {runs} runs"
            raise Refused([self._problem(fact, f"nothing was done; it is outdated: move it away; {PAGE}")])
        begun = previous if runs == previous.hash else desired
        try:
            if not runs:
                raise Refused([self._problem("an interrupted recycle left it without a container of its own")])
            self._run_all("its files", begun.write_files(self.context))
            if begun is desired:
                self._prove(begun)
            else:
                self.clear_leftovers()
                self._run_all("its memory plugin", self.plugin.back())
            self._forget_record()
        except Refused as red:
            return self._settle_back(previous, red)
        problems = self._end_plugin() if begun is desired else []
        self.receipt.notes.append(f"an interrupted recycle was ended: spec {begun.hash} runs")
        return problems

    def _end_plugin(self) -> list[Problem]:
        """What only the previous memory plugin needed is gone, once nothing goes back any more."""
        try:
            self._run_all("what its former memory plugin needed", self.plugin.over())
        except Refused as refused:
            return list(refused.problems)
        return []

    def _running_spec(self) -> str:
        """The spec of the container that runs and that clients can reach; "" where none does."""
        container = self.context.observe().container
        return container.spec_hash if container is not None and container.running and container.reachable else ""

    def _settle_back(self, previous: ContainerLaunch, red: Refused) -> list[Problem]:
        problems = self.go_back(previous, red.problems)
        if self.receipt.did.pop("outcome") != "went back":
            return problems
        self.receipt.state = ""
        self.receipt.notes.append(f"an interrupted recycle was undone: spec {previous.hash} runs")
        return []

    def clear_leftovers(self) -> bool:
        """Whether a killed run's probe had left something, which is gone now."""
        server = self.context.observe().server
        if server is None or all(finding.object != LEFTOVER for finding in server.access):
            return False
        self._run("what a probe left", self.context.superuser(CLEAR))
        return True

    def _compare(self, probe: WriteProbe, before: dict[str, int], observed: TenantState) -> list[Problem]:
        """What the probe saw, and whether the same cluster with the same ledger answers."""
        after = self.context.observe().server
        try:
            report, counts = probe.stop(), self._count_rows("after")
        except psycopg.Error as error:
            probe.give_up()
            return [self._problem(f"its probe could not look for what it wrote: {error}", PAGE)]
        self.receipt.notes.append(f"{self.receipt.did.get('outcome', 'recycled')}: {report}")
        self.receipt.did |= {**vars(report), "rows_before": before, "rows_after": counts}
        return [self._problem(fact, PAGE) for fact in self._losses(report, observed, after)]

    @staticmethod
    def _losses(report: WriteReport, observed: TenantState, after: Any) -> Iterable[str]:
        server = observed.server
        if report.lost:
            yield f"acknowledged writes are missing: {report}"
        if server is None or after is None or server.system_identifier != after.system_identifier:
            yield "another cluster answers than before"
        elif server.ledger != after.ledger:
            yield "its ledger differs from before"

    def _count_rows(self, when: str) -> dict[str, int]:
        self.receipt.did[f"counted_{when}"] = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        return row_counts.rows(self.context)

    def _forget_record(self) -> None:
        self._run("the end", self.context.change('rm -f -- "$1"', layout.recycling_file(self.name)))

    def _swap(self, to: ContainerLaunch, stop_seconds: int) -> None:
        self.answered = False
        self._run("its container", to.swap(self.context, stop_seconds=stop_seconds))

    def _prove(self, launch: ContainerLaunch) -> None:
        """
        It serves the app, no check is red that the swap may have caused, and the memory plugin runs beside it.

        pgvector is updated where only that is red.
        """
        self._serve(launch)
        red = caused(red_checks(self.context), self.red_before)
        if {result.id for result in red} <= {"extension"} and self._update_extension():
            red = caused(red_checks(self.context), self.red_before)
        if red:
            raise Refused(described(self.name, red))
        self._run_all("its memory plugin", self.plugin.advance())

    def _serve(self, launch: ContainerLaunch) -> None:
        """Its server answers, is repaired, lets the app in, and takes writes; the connection files name it."""
        self._wait_for_answer()
        repair(self.context)
        self._wait_for_login(launch.port)
        self.answered = True
        self.context.invalidate()
        if self.probe is None:
            self.clear_leftovers()
        elif not self.probe.wait_for_write():
            raise Refused([self._problem("its probe could not write")])
        # The suite needs its role and that role's line of pg_hba.conf; its connections are those of the new container.
        self._run_all("its configuration", repair_configuration(self.context))
        self._run_all("its roles", repair_access(self.context))
        self._run_all("connection files", publish(self.context))

    def _wait_for_answer(self) -> None:
        """A server that was swapped in has answered on its socket; one that a killed run left may be starting."""
        deadline = time.monotonic() + GATE_SECONDS
        while self.context.observe().server is None:
            if time.monotonic() > deadline:
                raise Refused([Problem(self.context.not_answering().fact)])
            time.sleep(0.2)
            self.context.invalidate()

    def _wait_for_login(self, port: int) -> None:
        login, password, deadline = self.context.login, self.context.secret("app"), time.monotonic() + GATE_SECONDS
        reason = ""
        while time.monotonic() < deadline:
            try:
                with reached(port) as address:
                    prove_login(address, login, password, connect_timeout=5)
                    return
            except psycopg.Error as error:
                reason = str(error).strip().splitlines()[-1]
            time.sleep(0.1)
        raise Refused([self._problem(f"the app could not log in over TCP within {GATE_SECONDS} s: {reason}")])

    def _update_extension(self) -> bool:
        """Whether pgvector was behind the image's version, and was updated."""
        server = self.context.observe().server
        if server is None or server.vector == server.vector_available:
            return False
        self._run("pgvector's update", self.context.superuser(_UPDATE_EXTENSION))
        return True

    def _run_all(self, what: str, steps: Iterable[StringCommand]) -> None:
        for command in steps:
            self._run(what, command)

    def _run(self, what: str, command: StringCommand) -> None:
        """Raises Refused with the command's words, each naming the tenant and the step."""
        try:
            self.context.run(command)
        except Refused as refused:
            facts = [problem.fact for problem in refused.problems]
            own = [fact if fact.startswith(f"{self.name}: ") else f"{self.name}: {what}: {fact}" for fact in facts]
            raise Refused(map(Problem, own)) from None

    def _problem(self, fact: str, hint: str = "") -> Problem:
        return Problem(f"{self.name}: {' '.join(fact.split())}", hint)
