"""What the tracker and the supervisor conclude from the real lines of py-ib-controller, and at which line."""

from __future__ import annotations

import pytest
from conformance import captured
from conformance.ibcontroller_flows import IBCONTROLLER_FLOWS
from conformance.tables import TABLES
from tests.conformance.test_matrix import check

ROWS = TABLES["ibcontroller"]


def test_each_flow_has_its_captured_lines_and_its_row() -> None:
    assert set(IBCONTROLLER_FLOWS) == {entry.flow for entry in captured.read_all("ibcontroller")} == set(ROWS)


@pytest.mark.parametrize("flow", ROWS)
def test_the_captured_lines_lead_to_the_right_conclusion(flow: str) -> None:
    entry = captured.read("ibcontroller", flow)
    check("ibcontroller", IBCONTROLLER_FLOWS[flow], ROWS[flow], entry.lines, entry.exit_code)
