"""The tables of notifications in the documentation name every kind of message that the code sends."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def kinds(package: str, functions: frozenset[str]) -> set[str]:
    """The literal kinds that a package gives to the functions which create messages."""
    return {kind for file in (ROOT / "src" / package).rglob("*.py") for kind in _kinds(file, functions)}


def _kinds(file: Path, functions: frozenset[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in functions:
            yield from _literals(node.args[0])


def _literals(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _literals(value.body)
        yield from _literals(value.orelse)


def documented(page: str, heading: str) -> set[str]:
    """The kinds that the table below a heading names."""
    section = (ROOT / "docs" / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert rows, f"{page} has no table below {heading}"
    return {kind for row in rows for kind in re.findall(r"`([a-z_]+)`", row)}


def test_every_kind_of_the_position_manager_is_documented() -> None:
    sent = kinds("position_manager/reports", frozenset({"_message"})) | kinds(
        "position_manager", frozenset({"Message"})
    )
    assert len(sent) > 40
    assert sent - documented("position-manager.md", "Notifications") == set()


def test_every_kind_of_the_gateway_and_of_the_host_is_documented() -> None:
    sent = kinds("gateway_watch", frozenset({"Message"})) | kinds("host_backup", frozenset({"Message"}))
    assert len(sent) > 5
    assert sent - documented("operations.md", "Notifications") == set()
