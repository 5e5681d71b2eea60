"""The variables that the role writes for py-ib-controller, read by the real program."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conformance.display import Display
from conformance.ibcontroller import Ibcontroller
from conformance.ibcontroller_flows import IBCONTROLLER_FLOWS
from conformance.process import ControllerProcess
from tests.unit.roles.test_ib_gateway_controllers import IBCONTROLLER, environment

OWN_PLACES = ("IBC_APP_DIR", "IBC_TWS_SETTINGS_PATH", "IBC_PASSWORD_FILE")
"""Directories of the container, which are elsewhere in a test."""

ENOUGH = "startup state: APPLYING_SETTINGS -> READY"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short name: the controller's sockets are in it, and their paths are limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        yield Path(name)


def test_the_real_program_takes_each_variable_for_what_it_is_meant(folder: Path) -> None:
    written = environment(**IBCONTROLLER, twofa_seconds=180, twofa_exit_interval=60, java_heap_mb=256)
    controller = Ibcontroller()
    controller.prepare()
    with Display() as display:
        launch = controller.launch(IBCONTROLLER_FLOWS["login_paper"], folder, display.name)
        ours = {name: value for name, value in written.items() if name not in OWN_PLACES}
        foreign = {name: value for name, value in launch.environment.items() if not name.startswith("IBC_")}
        places = {name: launch.environment[name] for name in (*OWN_PLACES, "IBC_USERID", "IBC_TWS_PATH")}
        process = ControllerProcess(replace(launch, environment=foreign | places | ours))
        try:
            lines = []
            while (line := process.line(30)) is not None:
                lines.append(line.text)
                if ENOUGH in line.text:
                    break
        finally:
            process.kill()
    log = "\n".join(lines)
    assert ENOUGH in log
    values = dict(re.findall(r"^IBController > config (\w+)=(.*)$", log, re.MULTILINE))
    assert {name: values[name] for name in EXPECTED} == EXPECTED
    assert "Read-Only API) toggle = False" in log
    assert "(auto_restart_time) = 02:00 AM" in log
    assert "'-Xmx256m'" in log
    assert "testpassword" not in log


EXPECTED = {
    "trading_mode": "paper",
    "read_only_api": "False",
    "mfa_timeout_action": "restart",
    "mfa_timeout": "240.0",
    "mfa_exit_interval": "60.0",
    "relogin_after_mfa_timeout": "True",
    "existing_session_action": "primaryoverride",
    "auto_restart_time": "02:00 AM",
    "cold_restart_time": "13:00",
    "time_zone": "America/New_York",
    "java_heap_size": "256m",
    "log_sink": "std",
    "log_max_bytes": "1048576",
    "log_backup_count": "1",
}
