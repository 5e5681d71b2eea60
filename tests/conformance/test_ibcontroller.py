"""What the tracker and the supervisor conclude from the real lines of py-ib-controller, and at which line."""

from __future__ import annotations

import pytest
from conformance import captured
from conformance.ibcontroller_flows import IBCONTROLLER_FLOWS
from tests.conformance.expected_ibcontroller import IBCONTROLLER
from tests.conformance.test_matrix import Suite, check

SUITE = Suite("ibcontroller", IBCONTROLLER_FLOWS, ".> Starting ibcontroller in {mode} mode, with params:")


def test_each_flow_has_its_captured_lines_and_its_row() -> None:
    assert set(IBCONTROLLER_FLOWS) == {entry.flow for entry in captured.read_all("ibcontroller")} == set(IBCONTROLLER)


@pytest.mark.parametrize("flow", IBCONTROLLER)
def test_the_captured_lines_lead_to_the_right_conclusion(flow: str) -> None:
    entry = captured.read("ibcontroller", flow)
    check(flow, IBCONTROLLER[flow], entry.lines, entry.exit_code, SUITE)
