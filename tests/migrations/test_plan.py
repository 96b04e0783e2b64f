"""The plan continues the ledger's history, or says why it cannot. No server is needed to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pgberth.migrations import source
from pgberth.migrations.ledger import Head, heads_of
from pgberth.migrations.plan import Plan, plan_down, plan_up
from pgberth.model.problems import Refused
from tests.migrations.tree import INDEX, TABLE, Tree


def heads_after(tree: Tree, *versions: str, **parameters: str | int) -> tuple[Head, ...]:
    """Rows as `heads_script` prints them once these versions are applied; all of them by default."""
    loaded = source.load("notes", parameters, root=tree.root)
    numbers = [version.version for version in loaded.versions]
    return heads_of(
        {
            "component": "notes",
            "version": migration.version,
            "name": migration.name,
            "kind": migration.kind,
            "state": "applied",
            "template_sha256": migration.template_sha256,
            "rendered_sha256": migration.rendered_sha256,
            "parameters": dict(migration.parameters),
            "needs": [] if migration.kind == "versioned" else numbers,
        }
        for migration in loaded
        if not versions or migration.version in versions
    )


def changed(heads: Iterable[Head], version: str, **fields: Any) -> tuple[Head, ...]:
    return tuple(Head(**{**vars(head), **fields}) if head.version == version else head for head in heads)


def versions(plan: Plan) -> list[str]:
    return [migration.version for migration in plan.steps]


def refusal(work: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refused:
        work()
    return [(problem.fact, problem.hint) for problem in refused.value.problems]


def test_nothing_applied_means_everything_in_order(tree: Tree) -> None:
    plan = plan_up("notes", (), root=tree.root)
    assert versions(plan) == ["0000", "0001", "0002", "R0_grants", "R1_trigger"]
    assert not plan.applied
    assert not plan.waiting
    assert str(plan) == "notes: apply 0000, 0001, 0002, R0_grants, R1_trigger"


def test_everything_applied_means_nothing_to_do(tree: Tree) -> None:
    plan = plan_up("notes", heads_after(tree), root=tree.root)
    assert versions(plan) == []
    assert [migration.version for migration in (*plan.applied, *plan.steps)] == [
        "0000",
        "0001",
        "0002",
        "R0_grants",
        "R1_trigger",
    ]
    assert str(plan) == "notes: nothing to do"


def test_heads_of_other_components_do_not_matter(tree: Tree) -> None:
    others = tuple(Head(**{**vars(head), "component": "other"}) for head in heads_after(tree))
    assert len(plan_up("notes", others, root=tree.root).steps) == 5


@pytest.mark.parametrize("to", ["0001", 1])
def test_a_target_is_reached_and_not_passed(tree: Tree, to: str | int) -> None:
    plan = plan_up("notes", (), to=to, root=tree.root)
    assert versions(plan) == ["0000", "0001"]
    assert [str(waiting) for waiting in plan.waiting] == [
        "notes R0_grants waits for 0002",
        "notes R1_trigger waits for 0002",
    ]


def test_a_repeatable_may_say_which_versions_are_enough(tree: Tree) -> None:
    tree.write("R0_grants", up="-- pgberth: needs=0001\nSELECT 1;")
    assert versions(plan_up("notes", (), to="0001", root=tree.root)) == ["0000", "0001", "R0_grants"]
    assert versions(plan_up("notes", (), to="0000", root=tree.root)) == ["0000"]


@pytest.mark.parametrize("to", ["0003", 3, "1", "0001_table", "", -1])
def test_a_target_that_is_no_version_is_refused(tree: Tree, to: str | int) -> None:
    assert "has no version" in refusal(lambda: plan_up("notes", (), to=to, root=tree.root))[0][0]


def test_a_target_below_what_is_applied_is_refused_since_down_is_asked_for_by_name(tree: Tree) -> None:
    refusals = refusal(lambda: plan_up("notes", heads_after(tree), to="0000", root=tree.root))
    assert [fact for fact, _ in refusals] == [
        "notes 0001_table is applied, the target is 0000",
        "notes 0002_index is applied, the target is 0000",
    ]


def test_a_reverted_version_is_applied_again(tree: Tree) -> None:
    heads = changed(heads_after(tree), "0002", state="reverted")
    assert versions(plan_up("notes", heads, root=tree.root)) == ["0002", "R0_grants", "R1_trigger"]


def test_a_half_applied_version_is_taken_up_again_even_if_its_file_was_mended(tree: Tree) -> None:
    heads = changed(heads_after(tree, "0000", "0001", "0002"), "0002", state="started", rendered_sha256="0" * 64)
    assert versions(plan_up("notes", heads, root=tree.root)) == ["0002", "R0_grants", "R1_trigger"]


def test_a_changed_repeatable_is_run_again_with_those_after_it(tree: Tree) -> None:
    heads = heads_after(tree)
    tree.write("R0_grants", up="SELECT 2;")
    assert versions(plan_up("notes", heads, root=tree.root)) == ["R0_grants", "R1_trigger"]
    tree.write("R1_trigger", up="SELECT 2;")
    assert versions(plan_up("notes", changed(heads, "R0_grants", state="reverted"), root=tree.root))[0] == "R0_grants"


def test_a_new_version_runs_the_repeatables_again_since_its_tables_need_their_grants(tree: Tree) -> None:
    heads = heads_after(tree)
    tree.write("0003_more", up="SELECT 1;", down="SELECT 1;", verify="SELECT 'a','b','c' WHERE false")
    assert versions(plan_up("notes", heads, root=tree.root)) == ["0003", "R0_grants", "R1_trigger"]


def test_an_edited_file_is_refused_with_both_hashes_and_the_difference(tree: Tree) -> None:
    applied = source.load("notes", root=tree.root).versions[1]
    heads = changed(heads_after(tree), "0001", body=applied.up)
    tree.write("0001_table", up=TABLE["up"].replace("text   NOT NULL", "text"))
    edited = source.load("notes", root=tree.root).versions[1]
    ((fact, hint),) = refusal(lambda: plan_up("notes", heads, root=tree.root))
    assert fact == (
        f"notes 0001_table was edited after it was applied: sha256 {applied.rendered_sha256} is applied,"
        f" {edited.rendered_sha256} is in the file"
    )
    assert "\n-  body text   NOT NULL\n+  body text\n" in hint
    assert hint.startswith("Undo the edit, and write a new migration instead.\n--- applied\n+++ file\n")


def test_an_edited_file_is_refused_without_the_body_too(tree: Tree) -> None:
    heads = heads_after(tree)
    tree.write("0001_table", up="SELECT 1;")
    ((fact, hint),) = refusal(lambda: plan_up("notes", heads, root=tree.root))
    assert "was edited after it was applied" in fact
    assert hint == "Undo the edit, and write a new migration instead."


def test_down_and_verify_files_may_be_mended_at_any_time(tree: Tree) -> None:
    heads = heads_after(tree)
    tree.write("0001_table", down="SELECT 1;", verify="SELECT 'a', 'b', 'c' WHERE false")
    assert versions(plan_up("notes", heads, root=tree.root)) == []


def test_a_template_edit_that_changes_nothing_for_this_tenant_is_none(tree: Tree) -> None:
    heads = heads_after(tree)
    tree.write("0001_table", up=TABLE["up"] + "{# why #}")
    assert versions(plan_up("notes", heads, root=tree.root)) == []


HISTORIES: list[tuple[str, Callable[[Tree], object], list[str]]] = [
    ("missing", lambda t: t.remove("0002_index"), ["notes 0002_index is applied, these files end at 0001"]),
    (
        "deleted and replaced",
        lambda t: t.rename("0001_table", "0001_other"),
        ["notes 0001_table is applied, and its files are missing"],
    ),
    (
        "renumbered",
        lambda t: (
            t.rename("0001_table", "0009_x"),
            t.rename("0002_index", "0001_index"),
            t.rename("0009_x", "0002_table"),
        ),
        [
            "notes 0001_table is applied, and renumbered to 0002 in the files",
            "notes 0002_index is applied, and renumbered to 0001 in the files",
        ],
    ),
    (
        "newer than the code",
        lambda t: (t.remove("0002_index"), t.remove("0001_table")),
        [
            "notes 0001_table is applied, these files end at 0000",
            "notes 0002_index is applied, these files end at 0000",
        ],
    ),
]


@pytest.mark.parametrize(("mutilate", "facts"), [h[1:] for h in HISTORIES], ids=[h[0] for h in HISTORIES])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_history_that_the_files_do_not_continue_is_refused(
    tree: Tree, mutilate: Callable[[Tree], object], facts: list[str], way: str
) -> None:
    heads = heads_after(tree)
    plan_up("notes", heads, root=tree.root)  # good before it is mutilated
    mutilate(tree)

    def work() -> object:
        up = way == "up"
        return plan_up("notes", heads, root=tree.root) if up else plan_down("notes", heads, "zero", root=tree.root)

    assert [fact for fact, _ in refusal(work)] == facts


def test_a_number_put_in_between_is_refused(tree: Tree) -> None:
    refusals = refusal(lambda: plan_up("notes", heads_after(tree, "0000", "0002"), root=tree.root))
    assert refusals == [
        ("notes 0001_table is not applied, though notes 0002 is", "If it is new, give it the next number, 0003.")
    ]


def gated(tree: Tree) -> None:
    tree.write("0002_index", up="-- pgberth: gate=size\n" + INDEX["up"] + "-- {{ size | integer(1, 2000) }}\n")


def test_a_gated_version_waits_and_the_rest_goes_on(tree: Tree) -> None:
    gated(tree)
    tree.write("0003_more", up="SELECT 1;", down="SELECT 1;", verify="SELECT 'a','b','c' WHERE false")
    plan = plan_up("notes", (), root=tree.root)
    assert versions(plan) == ["0000", "0001", "0003", "R0_grants", "R1_trigger"]
    assert [str(waiting) for waiting in plan.waiting] == ["notes 0002_index waits for size"]
    late = plan_up("notes", heads_after(tree, "0000", "0001", "0003", "R0_grants"), {"size": 3}, root=tree.root)
    assert versions(late) == ["0002", "R0_grants", "R1_trigger"]


def test_a_value_recorded_by_a_code_step_opens_the_gate(tree: Tree) -> None:
    gated(tree)
    step = {"component": "notes", "version": "register", "name": "register", "kind": "code", "state": "applied"}
    hashes = {"template_sha256": "", "rendered_sha256": "", "parameters": {"size": 3}, "needs": ["0001"]}
    heads = (*heads_after(tree, "0000", "0001"), *heads_of([step | hashes]))
    assert versions(plan_up("notes", heads, root=tree.root)) == ["0002", "R0_grants", "R1_trigger"]
    reverted = changed(heads, "register", state="reverted")
    assert [str(w) for w in plan_up("notes", reverted, root=tree.root).waiting] == ["notes 0002_index waits for size"]
    assert refusal(lambda: plan_up("notes", heads, {"size": 4}, root=tree.root))[0][0] == (
        "notes register was applied with size = 3, now size is 4"
    )


def test_a_changed_parameter_of_an_applied_version_is_refused_and_a_forgotten_one_is_remembered(tree: Tree) -> None:
    gated(tree)
    heads = heads_after(tree, size=768)
    assert versions(plan_up("notes", heads, {"size": 768}, root=tree.root)) == []
    assert versions(plan_up("notes", heads, root=tree.root)) == []
    refusals = refusal(lambda: plan_up("notes", heads, {"size": 1024}, root=tree.root))
    assert refusals[0][0] == "notes 0002_index was applied with size = 768, now size is 1024"


@pytest.mark.parametrize("size", [0, 2001, "768", True])
def test_an_impossible_parameter_is_refused_before_anything_is_done(tree: Tree, size: int | str) -> None:
    gated(tree)
    refusals = refusal(lambda: plan_up("notes", (), {"size": size}, root=tree.root))
    assert "0002_index.up.sql.j2:5: integer: " in refusals[0][0]


def test_down_goes_backwards_to_the_target_only(tree: Tree) -> None:
    heads = heads_after(tree)
    assert [m.version for m in plan_down("notes", heads, "0000", root=tree.root)] == ["0002", "0001"]
    assert [m.version for m in plan_down("notes", heads, "zero", root=tree.root)] == ["0002", "0001", "0000"]
    assert plan_down("notes", heads, "0002", root=tree.root) == ()
    assert plan_down("notes", (), "zero", root=tree.root) == ()


def test_down_from_a_half_applied_version_is_refused(tree: Tree) -> None:
    heads = changed(heads_after(tree), "0002", state="started")
    assert refusal(lambda: plan_down("notes", heads, "0000", root=tree.root)) == [
        ("notes 0002_index is half applied", "Finish it first: migrate up to it.")
    ]
