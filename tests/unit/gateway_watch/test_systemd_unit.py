"""A unit that cannot start is shown with what is missing, by everything that asks systemd about it."""

from __future__ import annotations

import asyncio
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway_watch import systemd_unit
from position_manager.service import following
from position_manager.service.following import Goal, Seen

NAME = "ib-gateway.service"


def systemctl(directory: Path, active: str, sub: str, status: int, text: str = "") -> str:
    """A program that answers as systemctl does for a unit without its credential."""
    program = directory / "systemctl"
    program.write_text(
        f"""#!/bin/sh
if [ "$1" = cat ]; then
  printf '[Service]\\nLoadCredential=vnc_password:{directory}/missing\\nExecStart=/bin/sh\\n'
else
  printf 'LoadState=loaded\\nActiveState={active}\\nSubState={sub}\\nResult=exit-code\\n'
  printf 'StatusText={text}\\nExecMainStatus={status}\\nRestart=always\\n'
fi
"""
    )
    program.chmod(stat.S_IRWXU)
    return str(program)


@pytest.mark.parametrize(("active", "sub"), [("failed", "failed"), ("activating", "auto-restart")])
def test_what_is_missing_is_part_of_the_state(active: str, sub: str, tmp_path: Path) -> None:
    state = asyncio.run(systemd_unit.show(NAME, systemctl(tmp_path, active, sub, 243)))
    assert state.cause is not None
    assert state.cause.id == "credential_missing"
    assert state.reason.startswith(
        f"credential_missing: missing credential file: {tmp_path}/missing. Run ansible-playbook"
    )
    verdict = following.judge(Goal.READY, Seen(state, None, "it does not run", runs=False), 0, 60)
    assert verdict.failure is not None
    assert f"{tmp_path}/missing" in verdict.failure.text
    assert "ansible-playbook site.yml" in verdict.failure.remedy


@pytest.mark.parametrize(
    ("active", "sub", "status"), [("failed", "failed", 78), ("active", "running", 0), ("inactive", "dead", 0)]
)
def test_a_unit_that_needs_a_person_or_runs_is_not_inspected(
    active: str, sub: str, status: int, tmp_path: Path
) -> None:
    program = systemctl(tmp_path, active, sub, status, "bad_credentials: correct them")
    state = asyncio.run(systemd_unit.show(NAME, program))
    assert (state.cause, state.reason) == (None, "bad_credentials: correct them")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo @1764010800", datetime(2025, 11, 24, 19, tzinfo=UTC)),
        ("echo", None),
        ("echo @0", None),
        ("echo 'unknown option' >&2; exit 1", None),
    ],
)
def test_start_of_the_main_process_is_read(tmp_path: Path, command: str, expected: datetime | None) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(stat.S_IRWXU)
    assert asyncio.run(systemd_unit.started_at(NAME, str(program))) == expected
