"""Rendered migrations that are kept between runs: the same as rendered again, and never taken for what is applied."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pgberth.migrations import changes, fresh, plan, rehearse, rendered, repair, runner, source, step
from pgberth.model.problems import Refused
from tests.migrations.tree import Tree


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/pgberth/rendered"


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The components that were rendered, in order."""
    made: list[str] = []
    load = source.load

    def counted(component: str, *arguments: object) -> source.Component:
        made.append(component)
        return load(component, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(source, "load", counted)
    return made


@pytest.mark.parametrize("component", source.components())
def test_what_is_kept_is_what_rendering_gives(component: str) -> None:
    for _ in range(2):
        assert rendered.load(component) == source.load(component)
        assert rendered.parameters(component) == source.parameters(component)


def test_a_second_run_renders_nothing(renderings: list[str]) -> None:
    rendered.load("memory_plugin")
    renderings.clear()
    rendered.load("memory_plugin")
    assert renderings == []


def test_other_parameters_are_another_entry(renderings: list[str]) -> None:
    small = rendered.load("memory_plugin", {"dimension": 3})
    large = rendered.load("memory_plugin", {"dimension": 1024})
    assert small != large
    assert rendered.load("memory_plugin", {"dimension": 3}) == small
    assert renderings == ["memory_plugin", "memory_plugin"]


def edited(path: Path) -> None:
    path.write_text(path.read_text() + "-- one more line\n")


def half(path: Path) -> None:
    path.write_text(path.read_text()[:100])


def other_shape(path: Path) -> None:
    path.write_text("[[{}], []]")


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))
    os.lchown(path, 12345, 12345) if os.geteuid() == 0 else path.parent.chmod(0o777)


@pytest.mark.parametrize("harm", [half, other_shape, open_to_all, a_link])
def test_an_entry_that_cannot_be_relied_on_is_rendered_again(
    harm: Callable[[Path], None], cache: Path, renderings: list[str]
) -> None:
    first = rendered.load("memory_plugin")
    (entry,) = cache.glob("*.json")
    harm(entry)
    assert rendered.load("memory_plugin") == first
    assert renderings == ["memory_plugin", "memory_plugin"]


def test_an_edited_file_is_rendered_again(tree: Tree, renderings: list[str]) -> None:
    first = rendered.load(tree.component, root=tree.root)
    edited(next((tree.root / tree.component).glob("*.up.sql.j2")))
    assert rendered.load(tree.component, root=tree.root) != first
    assert len(renderings) == 2


def test_a_fault_is_refused_each_time(tree: Tree, cache: Path) -> None:
    (tree.root / tree.component / "notes.txt").write_text("not a migration")
    for _ in range(2):
        with pytest.raises(Refused, match=r"notes\.txt"):
            rendered.load(tree.component, root=tree.root)
    assert list(cache.glob("*.json")) == []


def test_a_home_that_cannot_be_written_to_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert rendered.load("memory_plugin") == source.load("memory_plugin")


def test_only_the_newest_entries_stay(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "_MOST", 3)
    for dimension in range(3, 9):
        rendered.load("memory_plugin", {"dimension": dimension})
    assert len(list(cache.iterdir())) == 3


def test_runs_at_the_same_time_get_whole_entries(cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: rendered.load("memory_plugin"), range(16)))
    assert all(one == made[0] for one in made)
    assert len(list(cache.iterdir())) == 1


def test_what_is_applied_is_rendered_by_the_run_itself() -> None:
    assert inspect.signature(plan.plan_up).parameters["load"].default is source.load
    appliers = (runner, step, fresh, rehearse, repair, changes)
    assert [module.__name__ for module in appliers if "rendered" in vars(module)] == []
