"""
One tenant's recycle: a new container on the same volume, while a probe writes, and the previous one where it is red.

What would be brought back is recorded before anything is changed, and removed last. So the run after a killed one finds
it (`settle`): there, too, either the previous or the desired container ends up running.
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
from pgberth.checks.operations import judge
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
from pgberth.rollout import row_counts

# Checks that a new container may turn green.
_CURED = frozenset({"container-spec", "container-image", "container-hardened", "container-mounts", "tls-certificate"})

PAGE = "runbooks/recycle-went-back.md"
_UPDATE_EXTENSION = "\\connect memory\nSET search_path = pg_catalog, pg_temp;\nALTER EXTENSION vector UPDATE;\n"


class RecycleAttempt:
    """A tenant and the steps of its recycle; each step raises Refused where it fails."""

    def __init__(self, context: TenantContext):
        self.context, self.receipt, self.name = context, context.receipt, context.name
        self.answered = False
        self.probe: WriteProbe | None = None

    def refusals(self) -> list[Problem]:
        """Why a tenant that is red now is not interrupted: afterwards nobody could say what made it red."""
        judge(self.context)
        red = [result for result in self.receipt.failed_checks if result.id not in _CURED]
        facts = [f"{self.name}: {result.id}: {problem}" for result in red for problem in result.problems]
        hint = f"nothing was done; run deploy/provision.py --limit {self.name} first, or see runbooks/check-is-red.md"
        return [*map(Problem, facts[:-1]), *(Problem(fact, hint) for fact in facts[-1:])]

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
            self._record(previous, desired)
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
        return []

    def go_back(self, previous: ContainerLaunch, why: Iterable[Problem]) -> list[Problem]:
        """The previous spec file and its container are restored. The value says why, and what came of it."""
        reasons = [Problem(problem.fact) for problem in why]
        self.context.observe()
        try:
            self._run_all("the previous files", previous.write_files(self.context))
            killpoint("recycle.back.written")
            # A server that has answered is stopped in order; one that never did has nothing to write to its disk.
            self._swap(previous, STOP_TIMEOUT if self.answered else KILL_SECONDS)
            killpoint("recycle.back.swapped")
            self._prove(previous)
            self._forget_record()
        except Refused as red:
            self.receipt.did["outcome"] = "failed both ways"
            self.receipt.state = "RED both ways"
            facts = [Problem(f"{self.name}: and the previous spec {previous.hash} is red, too:"), *red.problems]
            return [*reasons, *facts, self._problem("the recycle is not over", f"run it again; {PAGE}")]
        self.receipt.did["outcome"] = "went back"
        self.receipt.state = f"went back: {len(self.receipt.results or ())} passed"
        return [*reasons, self._problem(f"went back to the previous spec {previous.hash}, which is green", PAGE)]

    def settle(self) -> list[Problem]:
        """End what a killed recycle began: prove its container where it answers, restore the previous one otherwise."""
        previous, desired = self._recorded()
        container = self.context.observe().container
        runs = container.spec_hash if container is not None and container.running and container.reachable else ""
        if runs and runs not in (previous.hash, desired.hash):
            path = layout.recycling_file(self.name)
            fact = f"~/{path} records a recycle from spec {previous.hash} to {desired.hash}, and {runs} runs"
            raise Refused([self._problem(fact, f"nothing was done; it is outdated: move it away; {PAGE}")])
        begun = desired if runs == desired.hash and runs != previous.hash else previous
        try:
            if runs != begun.hash:
                raise Refused([self._problem("an interrupted recycle left it without a container of its own")])
            self._run_all("its files", begun.write_files(self.context))
            self._prove(begun)
            self._forget_record()
        except Refused as red:
            return self._settle_back(previous, red)
        self.receipt.notes.append(f"an interrupted recycle was ended: spec {begun.hash} runs")
        return []

    def _recorded(self) -> tuple[ContainerLaunch, ContainerLaunch]:
        """The previous and the desired container of the recycle that was killed. Raises Refused."""
        path = layout.recycling_file(self.name)
        done, output = host.run_shell_command(commands.shell('cat "$1"', path, timeout=10))
        try:
            body = json.loads(output.stdout) if done else {}
            return ContainerLaunch.from_body(body["former"]), ContainerLaunch.from_body(body["wanted"])
        except (ValueError, KeyError, TypeError):
            fact = f"what an interrupted recycle left in ~/{path} is not understood"
            raise Refused([self._problem(fact, PAGE)]) from None

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

    def _record(self, previous: ContainerLaunch, desired: ContainerLaunch) -> None:
        reason = self.receipt.did.get("reason", "")
        body = {"former": previous.to_body(), "wanted": desired.to_body(), "reason": reason}
        text = json.dumps(body, default=dict, indent=2) + "\n"
        self._run("what would be brought back", self.context.write(layout.recycling_file(self.name), text))

    def _forget_record(self) -> None:
        self._run("the end", self.context.change('rm -f -- "$1"', layout.recycling_file(self.name)))

    def _swap(self, to: ContainerLaunch, stop_seconds: int) -> None:
        self.answered = False
        self._run("its container", to.swap(self.context, stop_seconds=stop_seconds))

    def _prove(self, launch: ContainerLaunch) -> None:
        """Wait for a login, publish the connection files, pass the whole suite; update pgvector if only that is red."""
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
        problems = judge(self.context)
        if problems and self._update_extension_if_behind():
            problems = judge(self.context)
        if problems:
            raise Refused(problems)

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

    def _update_extension_if_behind(self) -> bool:
        """Whether pgvector was updated to the image's newer version; nothing else may be red."""
        server = self.context.observe().server
        behind = server is not None and server.vector != server.vector_available
        if not behind or {result.id for result in self.receipt.failed_checks} != {"extension"}:
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
