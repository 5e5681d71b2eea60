"""docs/monitoring.md lists each alert rule with its time, severity and sender, and each kind of message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from tests.contract.test_notification_docs import kinds

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/monitoring.md").read_text()


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "roles/monitoring/files/rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def rows() -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")
    ]


def test_each_rule_is_listed_with_its_time_severity_and_sender() -> None:
    listed = {row[0].strip("`"): row[2:] for row in rows() if len(row) == 5}
    assert listed == {
        rule["alert"]: [rule.get("for", "0s"), rule["labels"]["severity"], sender(rule)] for rule in rules()
    }


def sender(rule: dict[str, Any]) -> str:
    if rule["alert"] == "Watchdog":
        return "`alert-relay`, by its absence"
    return f"`{rule['labels']['reported_by']}`" if "reported_by" in rule["labels"] else "alert"


def test_each_kind_of_message_is_documented() -> None:
    sent = kinds("alert_relay", frozenset({"Message"}))
    assert sent == {found for row in rows() if len(row) == 2 for found in re.findall(r"`([a-z_]+)`", row[0])}


def test_each_alert_that_is_sent_has_a_remedy_or_is_the_heartbeat() -> None:
    bare = {rule["alert"] for rule in rules() if "description" not in rule["annotations"]}
    assert bare <= {"Watchdog"} | {r["alert"] for r in rules() if "reported_by" in r["labels"]}
