"""What the engine's parts receive: only what they use, and nothing that another part could replace."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from position_manager.engine import shared
from position_manager.engine.shared import Shared

FOLDER = Path(inspect.getfile(shared)).parent
COLLABORATORS = frozenset(field.name for field in fields(Shared))
OF_THE_ENGINE = (
    *("agenda", "broker_view", "contract_locks", "current_connection", "guarded_accounts", "in_flight"),
    *("journal_access", "known_instruments", "notices", "sending_halts", "tasks"),
)


def classes(folder: Path = FOLDER) -> Iterator[tuple[str, ast.ClassDef]]:
    for file in sorted(folder.glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield f"{file.name}: {node.name}", node


def own(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """The attributes of ``self`` that are set, or that are read."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
        and isinstance(each.ctx, context)
    }


@pytest.mark.parametrize(("name", "node"), [pytest.param(*each, id=each[0]) for each in classes()])
def test_each_part_uses_every_collaborator_that_it_receives(name: str, node: ast.ClassDef) -> None:
    stored, used = own(node, ast.Store), own(node, ast.Load)
    # What is public another part may use.
    received = {each for each in stored if each.startswith("_") or each in COLLABORATORS}
    assert received <= used, f"{name} never uses {received - used}"


def test_what_the_parts_share_has_no_public_state() -> None:
    found = {name: node for name, node in classes() if name.split(".py:")[0] in OF_THE_ENGINE}
    assert len(found) == len(OF_THE_ENGINE)
    public = {name: {each for each in own(node, ast.Store) if not each.startswith("_")} for name, node in found.items()}
    assert {name: names for name, names in public.items() if names} == {}
