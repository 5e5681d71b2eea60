"""The table of words that lint holds the project's prose and names to."""

from __future__ import annotations

import pytest
from tests.plugins import load

word_table = load("scripts/word_table.py")


@pytest.mark.parametrize(
    "name", ["tell", "_tell_all", "has_begun", "StoodStill", "hears", "look_at", "standing", "mended", "said"]
)
def test_a_name_with_a_word_of_the_dialect_is_found(name: str) -> None:
    for definition in (f"def {name}(): pass", f"class A:\n    async def {name}(self): pass", f"class {name}: pass"):
        assert word_table.names_of(definition) == [name]


@pytest.mark.parametrize("name", ["report", "understand", "outlook", "say", "looked_up", "create", "handler"])
def test_a_name_in_standard_terms_is_not(name: str) -> None:
    assert word_table.names_of(f"def {name}(): pass") == []


def test_only_whole_words_of_prose_are_counted() -> None:
    found = word_table.count("It tells what it TOLD a stand-in; bystanders stand. Created by a handler.")
    assert {name: number for name, number in found.items() if number} == {
        "tell/told": 2,
        "stand/stood": 1,
        "create": 1,
        "handle": 1,
    }
