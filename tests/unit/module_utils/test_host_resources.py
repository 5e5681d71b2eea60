"""What the module host_resources does where a test cannot run it: with units of systemd and with other users."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from module_utils.host_resources import converge, model, systemd
from module_utils.host_resources.converge import Convergence
from module_utils.host_resources.model import Attributes, File, Resources, Service, User


class Module:
    """An AnsibleModule whose programs only record that they were run, and what a file is when it is moved."""

    def __init__(self, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.ran: list[str] = []
        self.moved: list[list[int]] = []

    def run_command(self, args: Sequence[str], **_: Any) -> tuple[int, str, str]:
        self.ran.append(" ".join(args))
        if args[1] == "show":
            return 0, "LoadState=loaded\nActiveState=active\nNeedDaemonReload=no\nActiveEnterTimestamp=\n", ""
        return 0, "enabled\n", ""

    def atomic_move(self, src: str, dest: str, *, keep_dest_attrs: bool) -> None:
        assert not keep_dest_attrs
        self.moved.append([stat.S_IMODE(os.lstat(path).st_mode) for path in (src, dest) if Path(path).exists()])
        Path(src).rename(dest)

    def set_fs_attributes_if_different(
        self, file_args: dict[str, Any], changed: bool, diff: dict[str, Any] | None, expand: bool
    ) -> bool:
        assert not expand
        Path(file_args["path"]).chmod(int(file_args["mode"], 8))
        return changed


def test_a_secret_is_moved_to_its_place_with_its_mode(tmp_path: Path) -> None:
    """It is never readable by others, although the file that it replaces was."""
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o644)
    module = Module()
    Convergence(
        module, Resources(files=(File(str(path), Attributes(None, None, "0600"), b"new", secret=True),))
    ).converge()
    assert module.moved == [[0o600, 0o644]]
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_systemd_reads_changed_unit_files_before_it_starts_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    monkeypatch.setattr(systemd, "UNIT_FILES", str(tmp_path))
    (tmp_path / "a.service").write_text("old")
    module = Module(check_mode)
    resources = Resources(
        files=(File(str(tmp_path / "a.service"), Attributes(None, None, "0644"), b"new"),),
        services=(Service("a.service", enabled=False),),
    )
    convergence = Convergence(module, resources)
    assert convergence.problems() == []
    convergence.converge()
    changes = [command for command in module.ran if not command.startswith(("systemctl show", "systemctl is-enabled"))]
    assert changes == ([] if check_mode else ["systemctl daemon-reload", "systemctl disable -- a.service"])


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_user_is_created_before_what_belongs_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    monkeypatch.setattr(converge, "_known_user", lambda name: name == "root")
    monkeypatch.setattr(converge, "_known_group", lambda name: name == "root")
    module = Module(check_mode)
    file = File(str(tmp_path / "a"), Attributes("root", "trader", "0640"), b"new")
    convergence = Convergence(module, Resources(users=(User("trader"),), files=(file,)))
    assert convergence.problems() == []
    convergence.converge()
    assert convergence.outcome.items == ["user trader", str(tmp_path / "a")]
    if check_mode:
        assert module.ran == []
    else:
        (command,) = module.ran
        assert command.startswith("useradd --system --user-group ")
        assert command.endswith(" trader")
    assert "trader, does not exist" in " ".join(Convergence(module, Resources(files=(file,))).problems())


def test_a_unit_without_a_unit_file_does_not_shift_the_states_of_others() -> None:
    enabled = {"a.service": "enabled\n", "b.scope.service": "", "c.service": "disabled\n"}

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        names = command[command.index("--") + 1 :]
        if command[1] == "show":
            shown = [
                "LoadState=loaded\nActiveState=active\nNeedDaemonReload=no\nActiveEnterTimestamp=\n" for _ in names
            ]
            return 0, "\n".join(shown), ""
        return 1, "".join(enabled[name] for name in names), ""

    units = systemd.read_units(run, list(enabled))
    assert [unit.enabled for unit in units.values()] == [True, False, False]


def test_the_times_of_systemd_are_read() -> None:
    assert systemd._time("Mon 2026-11-30 06:41:15.250000 UTC") == 1796020875.25
    assert systemd._time("") is None
    assert systemd._time("n/a") is None


def test_contents_survive_the_way_to_the_host() -> None:
    contents = [b"", b"\0\xff", "ü\n".encode()]
    assert model.decode(model.encode(contents)) == contents
    assert model.decode(None) == []
    with pytest.raises(model.InvalidContentsError):
        model.decode(model.MARK + "[1")


@pytest.mark.parametrize(
    ("state", "problems"), [("stopped", []), ("started", ["a.service does not exist on this host."])]
)
def test_a_unit_that_is_not_there_needs_no_stop(state: str, problems: list[str]) -> None:
    class Empty(Module):
        def run_command(self, args: Sequence[str], **_: Any) -> tuple[int, str, str]:
            self.ran.append(" ".join(args))
            return 0, "LoadState=not-found\nActiveState=inactive\nNeedDaemonReload=no\nActiveEnterTimestamp=\n", ""

    module = Empty()
    convergence = Convergence(module, Resources(services=(Service("a.service", enabled=False, state=state),)))
    assert convergence.problems() == problems
    if not problems:
        convergence.converge()
    assert convergence.outcome.items == []
    assert not [command for command in module.ran if "show" not in command]
