"""The files an operator runs: each calls one verb, which is there."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from tests.deploy.product import REPO

FILES = sorted((REPO / "deploy").glob("*.py"))


def test_there_are_deploy_files() -> None:
    assert len(FILES) > 10


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_deploy_file_imports_and_calls_the_verb_of_its_name(file: Path) -> None:
    verb = file.stem
    docstring, imported, call = ast.parse(file.read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(imported) == f"from pgberth.verbs.{verb} import {verb}"
    assert ast.unparse(call) == f"{verb}()"
    assert callable(getattr(import_module(f"pgberth.verbs.{verb}"), verb))
