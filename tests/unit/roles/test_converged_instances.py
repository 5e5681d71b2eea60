"""Which instances a changed file restarts: what the roles pass to host_resources for two instances on a host."""

from __future__ import annotations

from typing import Any

import pytest
from module_utils.host_resources import model
from tests.unit.roles import test_ib_gateway_preflight as gateway
from tests.unit.roles import test_position_manager_preflight as manager

# One name is the start of the other, in their paths too.
NAMES = ("one", "one-live")


def outdated_by(path: str, services: list[dict[str, Any]], inputs: str = "inputs") -> list[str]:
    return [service["name"] for service in services if model.touches([path], service[inputs])]


def test_a_changed_file_of_a_gateway_concerns_that_gateway_alone() -> None:
    module = gateway.instances_module
    for name in NAMES:
        instances = gateway.resolve({each: {} for each in NAMES})
        chosen = [instance for instance in instances if instance["name"] == name]
        files = module.secret_files(chosen) + module.config_files(chosen)
        assert len(files) == 8
        for file in files:
            assert outdated_by(file["path"], module.services(instances)) == [f"{name}.service"]


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_of_a_manager_restarts_or_reloads_that_manager_alone(name: str) -> None:
    module = manager.instances_module
    instances = manager.resolve({each: {} for each in NAMES})
    chosen = [instance for instance in instances if instance["name"] == name]
    services = module.services(instances, "/release")
    config, unit = module.config_files(chosen, "the-user", "/release")
    for path in (unit["path"], *(file["path"] for file in module.secret_files(chosen))):
        assert outdated_by(path, services) == [f"{name}.service"]
        assert outdated_by(path, services, "reload_inputs") == []
    assert outdated_by(config["path"], services) == []
    assert outdated_by(config["path"], services, "reload_inputs") == [f"{name}.service"]
    assert (config["validate"], config["group"]) == ("/release/bin/position-manager check-config %s", "the-user")


def test_only_secret_files_are_secret() -> None:
    (gateway_instance,), (manager_instance,) = gateway.resolve(), manager.resolve()
    for file in (
        *gateway.instances_module.secret_files([gateway_instance]),
        *manager.instances_module.secret_files([manager_instance]),
    ):
        assert file["secret"] is True
        assert file["mode"] in ("0600", "0400")
    configuration = [
        *gateway.instances_module.config_files([gateway_instance]),
        *manager.instances_module.config_files([manager_instance], "the-user", "/release"),
    ]
    assert not any(file.get("secret") for file in configuration)
