"""When the gateways of a host count as verified."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloudwatch_metric.cli import BAD_SETTINGS, main, value, verified
from host_service.gateway_login import GatewayLogin, IbkrLink

NOON = datetime(2026, 11, 25, 17, tzinfo=UTC)
NIGHTLY_RESET = datetime(2026, 11, 26, 4, 50, tzinfo=UTC)
GOOD = GatewayLogin("ready", False, "", IbkrLink("connected", NOON, ""))


@pytest.mark.parametrize(
    "login",
    [
        None,
        GatewayLogin("awaiting_2fa", True, "", IbkrLink("connected", NOON, "")),
        GatewayLogin("ready", False, "", IbkrLink("lost", NOON, "")),
        GatewayLogin("ready", False, "", None),
    ],
)
def test_a_gateway_without_login_or_link_is_not_verified(login: GatewayLogin | None) -> None:
    assert verified(GOOD)
    assert not verified(login)
    assert (value([GOOD], NOON), value([GOOD, login], NOON), value([], NOON)) == (1, 0, 0)


def test_the_maintenance_of_ibkr_is_no_fault() -> None:
    assert value([None], NIGHTLY_RESET) == 1


def test_settings_that_cannot_be_used_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cloudwatch-metric.json"
    assert main(["--config", str(path)]) == BAD_SETTINGS
    path.write_text('{"host": "a", "namespace": "b", "region": "c"}')
    assert main(["--config", str(path)]) == BAD_SETTINGS
    assert "cannot be read" in caplog.text
    assert "gateways" in caplog.text
