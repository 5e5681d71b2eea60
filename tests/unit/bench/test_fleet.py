"""The parts of the measurement of a fleet: what a host answered is replayed, and a run that ends otherwise fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import fleet
from bench.fleet import SANDBOXES, SSH, Cost, Fleet, FleetError, Rows
from bench.simulator import ROOT

HOST = """\
#!/bin/sh
for command; do :; done
case "$command" in *BECOME-SUCCESS-*) echo "BECOME-SUCCESS-${command##*BECOME-SUCCESS-}" ;; esac
sent=$(cat)
echo "$(echo "$sent" | wc -c) bytes at recorded"
echo "an error" >&2
exit 3
"""
MODULE = "payload module_fqn='ansible.modules.%s', rest"


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Calls the program in place of ssh, with a host that answers how much it was sent."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(HOST)
    (programs / "ssh").chmod(0o755)
    for name in ("answers", "turns"):
        (tmp_path / name).mkdir()

    def run(sent: str, key: str, host: str = "", *arguments: str) -> tuple[int, str, str]:
        variables = {"FLEET_ANSWERS": tmp_path / "answers", "FLEET_TURNS": tmp_path / "turns"}
        if not host:
            variables = {"FLEET_RECORD": tmp_path / "answers"}
        (tmp_path / f"turns/{host}.own").write_text(f"recorded {host}")
        command = f"sudo sh -c 'echo BECOME-SUCCESS-{key}" if key else "/bin/sh -c python3"
        ran = subprocess.run(
            [SSH, "-o", "ControlPersist=10m", *arguments, host or "recorded", command],
            env={"PATH": f"{programs}:{os.environ['PATH']}", **{name: str(path) for name, path in variables.items()}},
            input=sent,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    return run


def test_each_host_gets_the_answers_to_a_module_in_their_order(call: Call) -> None:
    keys = ["abcdefgh" * 4, "ijklmnop" * 4, "qrstuvwx" * 4]
    calls = [(MODULE % "stat", ""), (MODULE % "command", keys[0]), (MODULE % "stat" + " longer", keys[1])]
    first, escalated, longer = (call(sent, key) for sent, key in calls)
    assert first == (3, f"{len(calls[0][0]) + 1} bytes at recorded\n", "an error\n")
    assert escalated[1] == f"BECOME-SUCCESS-{keys[0]}\n{len(calls[1][0]) + 1} bytes at recorded\n"
    for host in ("one", "two"):
        # Modules are counted apart, sudo confirms with the characters of this call, and the host has its own name.
        again, plain, third = (
            call(MODULE % name, key, host) for name, key in (("command", keys[2]), ("stat", ""), ("stat", keys[2]))
        )
        assert again[1] == escalated[1].replace(keys[0], keys[2]).replace("recorded", host)
        assert plain == (first[0], first[1].replace("recorded", host), first[2])
        assert third[1] == longer[1].replace(keys[1], keys[2]).replace("recorded", host)


def test_a_call_that_was_not_recorded_fails(call: Call) -> None:
    call(MODULE % "stat", "")
    assert call(MODULE % "stat", "", "one")[0] == 3
    status, _, error = call(MODULE % "stat", "", "one")
    assert status not in (0, 3)
    assert "no answer was recorded for ansible.modules.stat.2" in error


def test_an_answer_is_for_its_owner_only(call: Call, tmp_path: Path) -> None:
    call(MODULE % "stat", "")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "answers").iterdir()}
    assert modes == {0o600}


RECAP = """\
PLAY RECAP *********
one                        : ok=4    changed=0    unreachable=0    failed=0    skipped=1    rescued=0    ignored=0
two                        : ok={ok}    changed={changed}    unreachable={lost}    failed={failed}    skipped=1
"""


@pytest.mark.parametrize(
    ("counts", "wrong"),
    [
        ({}, False),
        ({"changed": 1}, True),
        ({"lost": 1}, True),
        ({"failed": 1}, True),
    ],
)
def test_a_run_counts_only_if_every_host_ended_as_expected(
    monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], wrong: bool
) -> None:
    output = RECAP.format(**{"ok": 4, "changed": 0, "lost": 0, "failed": 0, **counts})
    monkeypatch.setattr(fleet, "timed", lambda *_: (Cost(1, 1, 1, 1), output))
    hosts = Fleet(Path("hosts.yml"), ["one", "two"], {})
    if wrong:
        with pytest.raises(FleetError, match="two"):
            hosts.play("site.yml")
    else:
        assert hosts.play("site.yml") == Cost(1, 1, 1, 1)
    with pytest.raises(FleetError, match="three"):
        Fleet(Path("hosts.yml"), ["three", "one"], {}).play("site.yml")


def test_only_the_run_that_converges_copies_may_change_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "timed", lambda *_: (Cost(1, 1, 1, 1), RECAP.format(ok=4, changed=2, lost=0, failed=0)))
    hosts = Fleet(Path("hosts.yml"), ["two"], {})
    assert hosts.play("site.yml", converge=True) == Cost(1, 1, 1, 1)
    with pytest.raises(FleetError):
        hosts.play("site.yml")


def test_the_cost_is_that_of_the_program_and_of_what_it_starts() -> None:
    spend = "import time\nwhile time.process_time() < 0.4: pass"
    start = f"import subprocess, sys\nkept = bytearray(40 << 20)\nsubprocess.run([sys.executable, '-c', {spend!r}])"
    cost, output = fleet.timed([sys.executable, "-c", f"{start}\n{spend}\nprint('done')"], {})
    assert output == "done\n"
    assert cost.processor >= 0.8
    assert 0 < cost.main < cost.processor
    assert cost.mebibytes > 40
    with pytest.raises(FleetError, match="no such host"):
        fleet.timed([sys.executable, "-c", "import sys; sys.exit('no such host')"], {})


def test_a_run_for_which_there_is_no_time_is_left_out() -> None:
    rows = Rows(60)
    rows.add("replayed", 4, 20, {"status.yml": lambda: Cost(8, 6, 2, 100)})
    rows._until = 0
    for fleet_of in ("replayed", "not measured yet"):
        rows.add(fleet_of, 8, 20, {"status.yml": lambda: pytest.fail("measured")})
    (row,) = rows.found
    assert row["status.yml ms a host"] == 2000
    assert row["MiB a host"] == 25


@pytest.mark.parametrize("ended", [FleetError("a run failed"), KeyboardInterrupt(), signal.SIGTERM])
def test_what_was_created_is_removed_however_it_ends(
    monkeypatch: pytest.MonkeyPatch, ended: BaseException | signal.Signals
) -> None:
    removed: list[int] = []
    monkeypatch.setattr(fleet, "remove_all", lambda: removed.append(len(removed)))

    def measured(_rows: Rows) -> list[fleet.Row]:
        assert removed == [0]
        if isinstance(ended, BaseException):
            raise ended
        os.kill(os.getpid(), ended)
        signal.pause()
        raise AssertionError

    monkeypatch.setattr(fleet, "measured", measured)
    with pytest.raises((FleetError, KeyboardInterrupt)):
        fleet.rows()
    assert removed == [0, 1]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_inventory_has_the_variables_of_the_sandbox(tmp_path: Path) -> None:
    path = fleet.inventory(
        tmp_path / "fleet", "replayed", {"one": {}, "two": {"ansible_host": "there"}}, {"more": "so"}
    )
    ansible = Path(sys.executable).with_name("ansible-inventory")
    shown = subprocess.run([ansible, "-i", path, "--host", "two"], capture_output=True, text=True, check=True).stdout
    for known in ('"ansible_host": "there"', '"more": "so"', '"ib_gateway_image"', '"ib_gateway_userid"'):
        assert known in shown


def test_a_copy_is_what_the_role_would_have_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fleet-1").mkdir()
    (tmp_path / "fleet-1/id_ed25519.pub").write_text("ssh-ed25519 AAAA copied\n")
    (tmp_path / "images.json").write_text('{"sandbox_host": "host:1", "archives": "/images"}')
    monkeypatch.setattr(fleet, "STATE", tmp_path)
    options, label = fleet.options_of("fleet-1")
    assert "--hostname=fleet-1" in options
    role = ROOT / "roles/sandbox_host"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"role_path": str(role)},
        "vars_files": [str(role / "vars/main.yml")],
        "tasks": [{"ansible.builtin.debug": {"msg": "label={{ __sandbox_host_config }}"}}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    known = {"sandbox_host_name": "fleet-1", "__sandbox_host_state_dir": str(tmp_path)}
    ansible = Path(sys.executable).with_name("ansible-playbook")
    ran = subprocess.run(
        [ansible, "-i", "localhost,", "-c", "local", tmp_path / "play.yml", "-e", json.dumps(known)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"label={label}" in ran.stdout, ran.stdout + ran.stderr


def test_a_fleet_is_only_as_large_as_the_time_allows() -> None:
    rows = Rows(60)
    assert rows.fitting(SANDBOXES, "site.yml") > 1000
    rows.add(SANDBOXES, 2, 20, {"site.yml": lambda: Cost(20, 6, 2, 100)})
    assert rows.fitting(SANDBOXES, "site.yml") == 5
    rows.add(SANDBOXES, 6, 20, {"site.yml": lambda: pytest.fail("measured")})
    assert len(rows.found) == 1
