"""Each role's argument specs name exactly the variables of its defaults, with the same default values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).parents[2] / "roles").iterdir() if path.is_dir())


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_specs_equal_defaults(role: Path) -> None:
    defaults = read(role / "defaults/main.yml") or {}
    options = read(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})
    assert {name: option.get("default") for name, option in options.items()} == {
        # A default that is a template has no literal to compare: the spec leaves it out.
        name: value if "{{" not in str(value) or options.get(name, {}).get("default") else None
        for name, value in defaults.items()
    }


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_prefixed_and_described(role: Path) -> None:
    options = read(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})
    for name, option in options.items():
        assert name.startswith(f"{role.name}_")
        assert option["description"]
        assert option["type"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_secret_has_a_default(role: Path) -> None:
    for name, value in (read(role / "defaults/main.yml") or {}).items():
        if any(word in name for word in ("password", "userid", "token", "secret")):
            assert value == "", name
