"""Which units the role dashboard starts, stops and removes, as it passes them to host_resources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).parents[3] / "roles/dashboard"
GONE = {"name": "old-screen.socket", "state": "stopped", "enabled": False}
GONE_FILES = ["/etc/systemd/system/old-screen.socket", "/etc/systemd/system/old-screen@.service"]


def resources(tasks: str) -> list[dict[str, Any]]:
    """The arguments of each call, on a host with one gateway, from which another one was removed."""
    loader = DataLoader()
    variables = loader.load_from_file(str(ROLE / "vars/main.yml"), trusted_as_template=True)
    variables |= {
        "__ib_gateway_resolved": [
            {"name": "one", "config_dir": "/etc/ib-gateway/one", "state_dir": "/var/lib/ib-gateway/one"}
        ],
        "__ib_gateway_settings": {"removed_instances": ["old"]},
    }
    calls = loader.load_from_file(str(ROLE / f"tasks/{tasks}.yml"), trusted_as_template=True)
    templar = Templar(loader, variables=variables)
    when = [trust_as_template("{{ " + call["when"] + " }}") for call in calls if "when" in call]
    assert all(templar.template(text) for text in when)
    return [templar.template(call["host_resources"]) for call in calls]


def test_the_screen_of_a_removed_gateway_is_stopped_before_its_units_are_removed() -> None:
    before, converged = resources("deploy")
    assert before == {"services": [GONE]}
    assert converged["absent"] == GONE_FILES


def test_nothing_of_a_page_that_is_disabled_remains() -> None:
    stopped, removed = resources("remove")
    assert [unit["name"] for unit in stopped["services"]] == ["ib-dashboard.service", "one-screen.socket", GONE["name"]]
    assert all(unit | GONE == unit | {"name": GONE["name"]} for unit in stopped["services"])
    assert set(GONE_FILES) < set(removed["absent"])
    assert "/etc/systemd/system/one-screen.socket" in removed["absent"]


def test_the_page_runs_from_the_current_release_also_after_a_rollback() -> None:
    """The files of an older release are older than the start of the page, so their times restart nothing."""
    (page,) = [unit for unit in resources("deploy")[1]["services"] if unit["name"] == "ib-dashboard.service"]
    assert (page["program"], page["outdated"]) == ("/opt/ib-gateway-ansible/current", "restart")
