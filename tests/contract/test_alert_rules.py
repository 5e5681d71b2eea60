"""The alert rules and the configuration of Prometheus and Alertmanager, checked by their own programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from tests import prometheus

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles/monitoring"
RULES = ROLE / "files/rules.yml"
TESTS = ROOT / "tests/promtool/rules_test.yml"
PORTS = {"prometheus_port": 9090, "alertmanager_port": 9093, "node_exporter_port": 9100, "relay_port": 9095}
TARGETS: list[dict[str, Any]] = [
    {"job": "gateway-watch", "port": 9402, "labels": {"gateway": "ib-gateway", "unit": "ib-gateway.service"}},
    {"job": "position-manager", "port": 9464, "labels": {"manager": "a", "unit": "position-manager-a.service"}},
    {"job": "position-manager", "port": 9465, "labels": {"manager": "b", "unit": "position-manager-b.service"}},
]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def render(name: str, directory: Path, **changes: Any) -> Path:
    """The file as the role deploys it, with the rules beside it."""
    environment = jinja2.Environment(  # noqa: S701 - YAML, no HTML
        loader=jinja2.FileSystemLoader(ROLE / "templates"), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["to_json"] = json.dumps
    (directory / "rules.yml").write_text(RULES.read_text())
    path = directory / name
    values: dict[str, Any] = {
        "ansible_managed": "Ansible managed",
        "inventory_hostname": "gateway-1",
        "__monitoring_dir": directory,
        "__monitoring_targets": TARGETS,
        "__monitoring_plain": {"scrape_seconds": 15} | PORTS,
        "__monitoring_heartbeat_interval": 60,
    }
    path.write_text(environment.get_template(f"{name}.j2").render(values | changes))
    return path


def test_every_rule_fires_in_its_fault_and_ends_after_it() -> None:
    done = prometheus.run("promtool", "test", "rules", TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case_in_which_it_fires_and_one_after_it() -> None:
    fires: dict[str, list[bool]] = {rule["alert"]: [] for rule in rules()}
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        for case in test["alert_rule_test"]:
            fires[case["alertname"]].append(bool(case["exp_alerts"]))
    del fires["Watchdog"]
    assert [name for name, found in fires.items() if not (True in found and False in found[found.index(True) :])] == []


def test_a_rule_that_is_broken_is_rejected_by_the_check_of_the_role(tmp_path: Path) -> None:
    (check,) = set(re.findall(r"check: (promtool check rules) %s", (ROLE / "vars/main.yml").read_text()))
    program, *arguments = check.split()
    assert prometheus.run(program, *arguments, RULES).returncode == 0
    broken = tmp_path / "rules.yml"
    broken.write_text(RULES.read_text().replace("gateway_watch_ready == 0", "gateway_watch_ready == "))
    assert prometheus.run(program, *arguments, broken).returncode != 0


@pytest.mark.parametrize("targets", [TARGETS, TARGETS[:1], []])
def test_prometheus_accepts_its_configuration(tmp_path: Path, targets: list[Any]) -> None:
    done = prometheus.run(
        "promtool", "check", "config", render("prometheus.yml", tmp_path, __monitoring_targets=targets)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def test_a_wrong_configuration_is_rejected(tmp_path: Path) -> None:
    wrong = render("prometheus.yml", tmp_path)
    wrong.write_text(wrong.read_text().replace("scrape_interval: 15s", "scrape_interval: soon"))
    assert prometheus.run("promtool", "check", "config", wrong).returncode != 0
    silent = render("alertmanager.yml", tmp_path)
    silent.write_text(silent.read_text().replace("receiver: people", "receiver: nobody"))
    assert prometheus.run("amtool", "check-config", silent).returncode != 0


def test_what_a_service_reports_is_not_sent_again_and_everything_else_is(tmp_path: Path) -> None:
    config = render("alertmanager.yml", tmp_path)
    assert prometheus.run("amtool", "check-config", config).returncode == 0
    for rule in rules():
        labels = [f"{name}={value}" for name, value in {"alertname": rule["alert"], **rule["labels"]}.items()]
        done = prometheus.run("amtool", "config", "routes", "test", f"--config.file={config}", *labels)
        expected = "shown only" if "reported_by" in rule["labels"] else "people"
        assert done.stdout.strip() == ("heartbeat" if rule["alert"] == "Watchdog" else expected), rule["alert"]


def exported() -> dict[str, str]:
    """The metrics of the services, each with its labels and their values as docs/metrics.md lists them."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return dict(rows)


def test_rules_use_metrics_and_labels_that_the_services_export() -> None:
    known = exported()
    of_targets = {name for target in TARGETS for name in target["labels"]}
    found: set[str] = set()
    for rule in rules():
        for name, selected in re.findall(
            r"\b((?:gateway_watch|position_manager|host_backup)_\w+)(?:\{(.*?)\})?", rule["expr"]
        ):
            assert name in known, rule["alert"]
            found.add(name)
            for label, values in re.findall(r'(\w+)=~?"(.*?)"', selected):
                assert label in of_targets or f"`{label}`" in known[name], (rule["alert"], label)
                assert all(f"`{value}`" in known[name] for value in values.split("|")), (rule["alert"], values)
    assert len(found) > 15
