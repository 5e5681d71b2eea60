"""Instances override shared settings; a typing error in them is reported, not ignored."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from tests.plugins import load

SHARED = {"port": 4002, "mode": "paper"}
overridden_instances = load("filter_plugins/overridden_instances.py").overridden_instances


def resolve(instances: Any, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = overridden_instances(instances, SHARED, "role_instances", "one", **options)
    return found


def test_an_instance_has_its_own_settings_before_the_shared_ones() -> None:
    assert resolve({"one": {"port": 4102}, "two": None}) == [
        {"port": 4102, "mode": "paper", "name": "one", "unit": "one.service"},
        {"port": 4002, "mode": "paper", "name": "two", "unit": "two.service"},
    ]


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (["one"], r"role_instances must map .* for example {one: {}}; got list"),
        ({}, r"role_instances must map"),
        ({"one": "paper"}, r"role_instances.one must be a mapping of settings, got str"),
        ({"one": {"prot": 1}}, r"role_instances.one has unknown settings: prot; allowed are: mode, port"),
    ],
)
def test_a_typing_error_is_reported(instances: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        resolve(instances)


def test_a_role_may_have_no_instance() -> None:
    assert resolve({}, required=False) == []
