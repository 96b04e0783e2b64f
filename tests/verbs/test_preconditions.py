"""What a verb brings up to date before it changes a tenant: an older release may have made what it finds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.deploy.product import REPO

# `recycle` and `stage` call the room rollout, whose judgement repairs the same. `verify` changes nothing of a tenant.
ELSEWHERE = {"recycle", "stage", "verify"}
# Those that judge log in as the suite's role, which a tenant of 0.1.0 lacks, and which its pg_hba.conf refuses.
LOGIN = {"smoke", "roles_rotated"}


def operations(file: Path) -> list[str]:
    """The names of the operations that a verb's file states, in order: each has a name for the run's log."""
    calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    named = [call for call in calls if any(keyword.arg == "name" for keyword in call.keywords)]
    return [ast.unparse(call.func) for call in sorted(named, key=lambda call: call.lineno)]


VERBS = {file.stem: operations(file) for file in sorted((REPO / "deploy/pgberth/verbs").glob("*.py"))}
JUDGING = [verb for verb, steps in VERBS.items() if verb not in ELSEWHERE and LOGIN.intersection(steps)]


def test_the_verbs_that_judge_a_tenant_are_known() -> None:
    assert set(JUDGING) >= {"erase", "migrate", "move", "provision", "register_model", "rotate"}


@pytest.mark.parametrize("verb", JUDGING)
def test_configuration_and_then_access_are_current_before_anything_logs_in(verb: str) -> None:
    steps = VERBS[verb]
    first = min(steps.index(step) for step in LOGIN if step in steps)
    assert steps.index("data_is_its_own") < steps.index("configuration_current")
    assert steps.index("configuration_current") < steps.index("access_current") < first
