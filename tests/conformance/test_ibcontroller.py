"""What the tracker and the supervisor conclude from the real lines of py-ib-controller, and at which line."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance import captured
from conformance.ibcontroller import Ibcontroller
from conformance.ibcontroller_flows import IBCONTROLLER_FLOWS
from conformance.tables import TABLES
from tests.conformance.test_matrix import check

from gateway_watch.signatures import load

ROWS = TABLES["ibcontroller"]


def test_each_flow_has_its_captured_lines_and_its_row() -> None:
    assert set(IBCONTROLLER_FLOWS) == {entry.flow for entry in captured.read_all("ibcontroller")} == set(ROWS)


@pytest.mark.parametrize("flow", ROWS)
def test_the_captured_lines_lead_to_the_right_conclusion(flow: str) -> None:
    entry = captured.read("ibcontroller", flow)
    check("ibcontroller", IBCONTROLLER_FLOWS[flow], ROWS[flow], entry.lines, entry.exit_code)


def test_the_stop_finds_the_controller_and_not_the_gateway(tmp_path: Path) -> None:
    controller = Ibcontroller()
    controller.prepare()
    process = load("ibcontroller").process
    started = controller.launch(IBCONTROLLER_FLOWS["login_paper"], tmp_path, ":0").command
    assert process.search(" ".join(started) + " ")
    # As the image starts it, and as the controller starts the gateway.
    assert process.search("/usr/bin/python3 /usr/local/bin/ibcontroller run ")
    assert not process.search("/jre/bin/java -cp gw.jar:ibcontroller-agent.jar ibcontroller.agent.AgentMain /run/a ")
    assert not process.search("bash /home/ibgateway/scripts/run.sh ")
