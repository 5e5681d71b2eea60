"""Why systemd could not start a unit: each kind of failure before its program runs names what is missing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from unit_recovery import host
from unit_recovery.causes import KINDS, Host, LastStart, find, last_start, settings

UNIT = "ib-gateway.service"
TEXT = """\
# /etc/systemd/system/ib-gateway.service
[Unit]
OnFailure=unit-recovery@%N.service
[Service]
ExecStartPre=-/may/fail
ExecStartPre=/usr/bin/touch /run/loaded
# a comment in the middle
ExecStart=/opt/bin/gateway-watch run --create \\
# another one
  --name ib-gateway \\
  an-image
LoadCredential=vnc_password:/etc/secrets/vnc_password
LoadCredential=notify_urls:/etc/secrets/notify_urls
ReadWritePaths=/var/lib/state -/var/lib/optional
User=runner
Group=runners
"""


def a_host(missing: str = "") -> Host:
    return Host(*[lambda name: name != missing] * 4)


def start(result: str = "exit-code", status: int = 0, before: int = 0, active: str = "failed") -> LastStart:
    return LastStart("loaded", active, "failed", result, status, before)


@pytest.mark.parametrize(
    ("status", "missing", "cause"),
    [
        (243, "/etc/secrets/vnc_password", "credential_missing"),
        (203, "/opt/bin/gateway-watch", "program_missing"),
        (226, "/var/lib/state", "directory_missing"),
        (217, "runner", "user_missing"),
        (216, "runners", "user_missing"),
    ],
)
def test_what_is_missing_is_named_with_the_next_step(status: int, missing: str, cause: str) -> None:
    found = find(UNIT, TEXT, start(status=status), a_host(missing))
    assert found is not None
    assert found.id == cause
    assert missing in found.text
    assert "ansible-playbook site.yml" in found.remedy


def test_a_command_before_the_main_process_that_fails_is_read_from_its_own_status() -> None:
    output = (
        "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=78\nRestart=always\n"
        "ExecStartPre={ path=/usr/bin/touch ; argv[]=/usr/bin/touch /run/loaded ; ignore_errors=no ; pid=2711 ; "
        "code=exited ; status=226 }\n"
    )
    last = last_start(output)
    # The 78 is of the run before.
    assert (last.before_exit_status, last.needs_a_person, last.restarts) == (226, False, True)
    found = find(UNIT, TEXT, last, a_host())
    assert found is not None
    assert (found.id, found.text) == (
        "setup_failed",
        "systemd could not set its process up (exit status 226/NAMESPACE)",
    )
    missing = find(UNIT, TEXT, last, a_host("/usr/bin/touch"))
    assert missing is not None
    assert missing.id == "program_missing"


@pytest.mark.parametrize(
    ("last", "cause", "named"),
    [
        (start(status=240), "setup_failed", "240"),
        (start(status=1), "program_failed", "1"),
        (start("resources"), "not_started", "resources"),
    ],
)
def test_what_is_not_known_names_the_log_to_read(last: LastStart, cause: str, named: str) -> None:
    found = find(UNIT, TEXT, last, a_host())
    assert found is not None
    assert found.id == cause
    assert named in found.text
    assert f"journalctl -u {UNIT}" in found.remedy


def test_all_that_is_missing_is_named_once() -> None:
    found = find(UNIT, TEXT, start(status=243), Host(*[lambda _: False] * 4))
    assert found is not None
    assert found.text.count("/etc/secrets/") == 2


def test_nothing_is_wrong_with_a_unit_that_runs() -> None:
    assert find(UNIT, TEXT, start("success", active="active"), a_host()) is None


def test_only_78_of_the_main_process_needs_a_person() -> None:
    assert start(status=78).needs_a_person
    assert not start(status=243).needs_a_person
    assert not start(status=78, active="activating").needs_a_person


def test_a_drop_in_resets_a_list() -> None:
    assert settings("A=1\nB=2\nA=\nA=3") == [("B", "2"), ("A", "3")]


def test_a_program_counts_only_with_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "script"
    assert not host.executable(str(script))
    script.write_text(f"#!{tmp_path}/python -I\n")
    script.chmod(stat.S_IRWXU)
    assert not host.executable(str(script))
    (tmp_path / "python").symlink_to("/bin/sh")
    assert host.executable(str(script))
    script.chmod(stat.S_IRUSR)
    assert not host.executable(str(script))
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "gone")
    assert not host.exists(str(dangling))
    assert host.exists(os.fspath(tmp_path))


def test_users_and_groups_of_this_host() -> None:
    assert host.has_user("root")
    assert host.has_group("root")
    assert host.has_user("54321")
    assert not host.has_user("nobody-by-this-name")
    assert not host.has_group("no-group-by-this-name")


def test_each_kind_has_a_remedy() -> None:
    assert all(kind.remedy and "{what}" in kind.text for kind in KINDS.values())
