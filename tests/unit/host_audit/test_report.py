"""The audit's result as table, JSON and JUnit."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree as Xml

import pytest

from host_audit import cli, report
from host_audit.point import LIVE, Point, must, should

POINTS = (
    must("ports", "Ports", "none", "Stop it.", LIVE).failed("tcp 0.0.0.0:5900 (x11vnc)"),
    must("sshd", "ssh server", "keys only", "Run site.yml.").passed("as expected"),
    should("reboot", "Reboot pending", "none", "Wait.").failed("/run/reboot-required exists"),
    must("clock", "Clock", "synchronised", "chronyc").skipped("a container"),
)


def test_the_table_has_the_remedy_below_a_failure_and_names_the_failed_musts() -> None:
    table = report.table(POINTS)
    assert "FAILED   Ports: tcp 0.0.0.0:5900 (x11vnc)" in table
    assert "remedy: Stop it." in table
    assert "warning  Reboot pending" in table
    assert table.endswith("4 points: 1 failed (ports), 1 warnings, 1 not applicable")


def test_a_point_survives_json() -> None:
    document = json.loads(report.as_json(POINTS, "host"))
    assert document["ok"] is False
    assert tuple(Point.parse(point) for point in document["points"]) == POINTS


def test_junit_counts_only_failed_musts_as_failures() -> None:
    suite = Xml.fromstring(report.as_junit(POINTS, "host"))  # noqa: S314 - written just now
    assert (suite.get("tests"), suite.get("failures")) == ("4", "1")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["ports"]


@pytest.mark.parametrize("text", ["no JSON", '["a text"]', '[{"id": "x"}]'])
def test_further_points_that_cannot_be_read_are_refused(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(SystemExit) as ended:
        cli.main(["--more"])
    assert ended.value.code == 2
    assert "standard input" in capsys.readouterr().err


def test_only_points_with_the_tag_remain_for_live_readiness(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "SUBJECTS", (lambda _: iter(POINTS),))
    assert cli.main(["--live-readiness", "--json"]) == 1
    assert [point["id"] for point in json.loads(capsys.readouterr().out)["points"]] == ["ports"]
