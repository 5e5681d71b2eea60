"""The module host_resources as Ansible runs it, on files of this machine and a model of systemctl."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from module_utils.host_resources import model
from tests.module_process import answer_of

# Units as files of state: UNIT holds "active|inactive enabled|disabled START".
SYSTEMCTL = """#!/usr/bin/python3
import os, pathlib, sys, time
units, log = pathlib.Path(os.environ["UNITS"]), pathlib.Path(os.environ["UNITS"] + ".log")
verb, names = sys.argv[1], [name for name in sys.argv[2:] if not name.startswith("-")]
if verb not in ("show", "is-enabled"):
    with log.open("a") as stream:
        print(*sys.argv[1:], file=stream)
for number, name in enumerate(names):
    unit = units / name
    state = unit.read_text().split() if unit.exists() else ["inactive", "", "0"]
    if verb == "show":
        form = "%a %Y-%m-%d %H:%M:%S.000000 UTC"
        started = time.strftime(form, time.gmtime(float(state[2]))) if float(state[2]) else ""
        loaded = "loaded" if unit.exists() else "not-found"
        print(*([""] if number else []), f"LoadState={loaded}", f"ActiveState={state[0]}", "NeedDaemonReload=no",
              f"MainPID={state[3] if len(state) > 3 else (os.getpid() if state[0] == 'active' else 0)}",
              f"ExecMainStartTimestamp={started}", f"ActiveEnterTimestamp={started}", sep="\\n")
    elif verb == "is-enabled":
        print(state[1])
    elif verb in ("start", "restart", "stop"):
        if name.startswith("broken"):
            sys.exit("Job for broken.service failed.")
        unit.write_text(f"{'inactive' if verb == 'stop' else 'active'} {state[1]} {time.time()}")
    elif verb in ("enable", "disable"):
        unit.write_text(f"{state[0]} {verb}d {state[2]}")
"""


class Host:
    """A directory for the resources, and units that `systemctl` knows."""

    def __init__(self, path: Path) -> None:
        self.path = path / "host"
        self.units = path / "units"
        self.programs = path / "bin"
        for directory in (self.path, self.units, self.programs):
            directory.mkdir()
        self.add_program("systemctl", SYSTEMCTL)

    def add_program(self, name: str, text: str) -> Path:
        program = self.programs / name
        program.write_text(text)
        program.chmod(0o755)
        return program

    def add_unit(
        self,
        name: str,
        active: str = "active",
        enabled: str = "enabled",
        started: float | None = None,
        process: str = "",
    ) -> None:
        (self.units / name).write_text(
            f"{active} {enabled} {time.time() + 1 if started is None else started} {process}"
        )

    @property
    def commands(self) -> list[str]:
        """What systemctl was told to change."""
        log = Path(f"{self.units}.log")
        return log.read_text().splitlines() if log.exists() else []

    def __truediv__(self, name: str) -> str:
        return str(self.path / name)

    def file(self, name: str, content: str | bytes = "text\n", **more: Any) -> dict[str, Any]:
        return {"path": self / name, "mode": "0640", "content": content, **more}

    def directory(self, name: str, mode: str = "0750") -> dict[str, str]:
        return {"path": self / name, "mode": mode}

    def call(self, check: bool = False, **resources: Any) -> dict[str, Any]:
        """Run the module with what its action plugin would pass on."""
        arguments: dict[str, Any] = {**resources, "_ansible_check_mode": check, "_ansible_diff": True}
        files = [dict(entry) for entry in resources.get("files", [])]
        if files:
            contents = [entry.pop("content") for entry in files]
            encoded = (content if isinstance(content, bytes) else content.encode() for content in contents)
            arguments |= {"files": files, "contents": model.encode(encoded)}
        path = f"{self.programs}:{os.environ['PATH']}"
        return answer_of("host_resources", arguments, {**os.environ, "PATH": path, "UNITS": str(self.units)})

    def converge(self, **resources: Any) -> dict[str, Any]:
        answer = self.call(**resources)
        assert not answer.get("failed"), answer["msg"]
        return answer


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def everything(host: Host) -> dict[str, Any]:
    Path(host / "old").mkdir(exist_ok=True)
    host.add_unit("a.service", active="inactive", enabled="disabled")
    return {
        "directories": [host.directory("conf")],
        "files": [host.file("conf/a.conf", "a = 1\n"), host.file("conf/password", "hunter2", secret=True)],
        "links": [{"path": host / "current", "target": "conf"}],
        "absent": [host / "old"],
        "commands": [
            {"name": "a", "files": [host / "conf/a.conf"], "commands": ["true"], "record": host / "conf/applied"}
        ],
        "services": [{"name": "a.service", "enabled": True, "state": "started"}],
    }


ITEMS = ["conf", "conf/a.conf", "conf/password", "current", "old"]


def test_everything_is_converged_and_a_second_call_changes_nothing(host: Host) -> None:
    resources = everything(host)
    answer = host.converge(**resources)
    assert answer["changed_items"] == [*(host / item for item in ITEMS), "apply a", "a.service"]
    assert Path(host / "conf/a.conf").read_text() == "a = 1\n"
    assert (mode_of(host / "conf"), mode_of(host / "conf/a.conf")) == (0o750, 0o640)
    assert Path(host / "current").readlink() == Path("conf")
    assert not Path(host / "old").exists()
    assert host.commands == ["enable -- a.service", "start -- a.service"]
    again = host.converge(**resources)
    assert (again["changed"], again["changed_items"], again["changes"], again["diff"]) == (False, [], [], [])


def test_check_mode_lists_the_same_changes_and_makes_none(host: Host) -> None:
    resources = everything(host)
    predicted = host.call(check=True, **resources)
    assert not Path(host / "conf").exists()
    assert Path(host / "old").exists()
    assert host.commands == []
    made = host.converge(**resources)
    assert [predicted[key] for key in ("changed_items", "changes", "diff")] == [
        made[key] for key in ("changed_items", "changes", "diff")
    ]


def test_only_what_differs_is_named_so_that_handlers_are_exact(host: Host) -> None:
    files = [host.file("a", "1\n"), host.file("b", "1\n"), host.file("c", "1\n")]
    host.converge(files=files)
    Path(files[1]["path"]).write_text("2\n")
    Path(files[2]["path"]).chmod(0o600)
    assert host.converge(files=files)["changed_items"] == [host / "b", host / "c"]
    assert mode_of(host / "c") == 0o640


def test_a_changed_file_has_a_readable_diff(host: Host) -> None:
    Path(host / "a").write_text("old\n")
    (diff,) = host.converge(files=[host.file("a", "new\n")])["diff"]
    assert diff == {
        "before_header": host / "a",
        "after_header": host / "a",
        "before": "old\n",
        "after": "new\n",
    }


def test_a_binary_file_has_no_diff(host: Host) -> None:
    (diff,) = host.converge(files=[host.file("a", b"\0\xff")])["diff"]
    assert "binary" in diff["prepared"]
    assert Path(host / "a").read_bytes() == b"\0\xff"


@pytest.mark.parametrize("secret", ["a", "conf", "differs", "hunter2-hunter2"])
def test_no_part_of_a_secret_is_in_the_answer_and_nothing_else_is_censored(host: Host, secret: str) -> None:
    """Also a secret that is a part of a path, which Ansible itself would replace by asterisks."""
    Path(host / "conf").mkdir()
    answer = host.converge(files=[host.file("conf/file", f"{secret}\n", secret=True)])
    assert answer["changed_items"] == [host / "conf/file"]
    changed = host.converge(files=[host.file("conf/file", f"{secret}!!\n", secret=True)])
    for each in (answer, changed):
        text = json.dumps(each)
        assert "********" not in text
        assert model.encode([f"{secret}\n".encode()]) not in text
        if secret.startswith("hunter2"):
            assert secret not in text
        assert "secret and not shown" in each["diff"][0]["prepared"]
    assert mode_of(host / "conf/file") == 0o640


def test_the_contents_are_in_no_log_of_the_host(host: Host) -> None:
    answer = host.converge(files=[host.file("a", "shown in the diff\n")])
    assert answer["invocation"]["module_args"]["contents"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def test_all_problems_are_reported_before_the_first_change(host: Host) -> None:
    Path(host / "is-a-file").write_text("")
    Path(host / "is-a-directory").mkdir()
    answer = host.call(
        directories=[host.directory("fine"), host.directory("is-a-file"), host.directory("is-a-file/below")],
        files=[host.file("is-a-directory"), host.file("missing/a"), host.file("nobodys", owner="no-such-user")],
        services=[{"name": "unknown.service", "state": "started"}],
    )
    problems = "\n".join(answer["problems"])
    assert "is-a-file exists and is no directory" in problems
    assert "is-a-file is no directory" in problems
    assert "is-a-directory exists and is no regular file" in problems
    assert "missing/a cannot be created: its directory does not exist" in problems
    assert "no-such-user, does not exist" in problems
    assert "unknown.service does not exist" in problems
    assert answer["msg"].endswith("Nothing was changed.")
    assert not Path(host / "fine").exists()


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ({"directories": [{"path": "relative", "mode": "0755"}]}, "relative is no absolute, normalized path"),
        ({"directories": [{"path": "/a/../b", "mode": "0755"}]}, "/a/../b is no absolute, normalized path"),
        ({"directories": [{"path": "/a", "mode": "493"}]}, "The mode of /a is 493"),
        ({"absent": ["/a/b", "/a/b"]}, "/a/b is given 2 times"),
        ({"absent": ["/etc"]}, "/etc is a directory of the system"),
        (
            {"absent": ["/a/b"], "links": [{"path": "/a/b/c", "target": "d"}]},
            "/a/b is to be removed and contains /a/b/c",
        ),
        ({"services": [{"name": "docker"}]}, "docker is no name of a unit"),
        ({"services": [{"name": "a.service", "reload_inputs": ["/a"]}]}, "reload_inputs of a.service needs loaded"),
        ({"users": [{"name": "-x"}]}, "-x is no name of a system user"),
    ],
)
def test_resources_that_make_no_sense_are_rejected(host: Host, resources: Mapping[str, Any], problem: str) -> None:
    assert problem in host.call(**resources)["msg"]


def test_a_rejected_content_changes_nothing(host: Host) -> None:
    program = host.add_program("checker", '#!/bin/sh\ngrep -q good "$1" || { echo "line 1: $(cat $1)"; exit 1; }\n')
    Path(host / "a").write_text("good\n")
    file = host.file("a", "hunter2\n", validate=f"{program} %s")
    answer = host.call(files=[host.file("other"), file])
    assert "rejects" in answer["msg"]
    assert "line 1: hunter2" in answer["msg"]
    assert Path(host / "a").read_text() == "good\n"
    assert not Path(host / "other").exists()
    secret = host.call(files=[{**file, "secret": True}])
    assert "rejects" in secret["msg"]
    assert "hunter2" not in json.dumps(secret)
    assert host.converge(files=[{**file, "content": "good too\n"}])["changed"]


def test_in_check_mode_no_program_of_an_older_release_rejects_a_content(host: Host) -> None:
    """As a check of a deploy that brings a new release, and a setting that only this one knows."""
    Path(host / "a").write_text("")
    older = host.add_program("older", "#!/bin/sh\nexit 1\n")
    for program, problem in ((older, "rejects"), (host / "not-installed", "cannot be validated")):
        file = host.file("a", validate=f"{program} %s")
        assert host.call(check=True, files=[file])["changed_items"] == [host / "a"]
        assert problem in host.call(files=[file])["msg"]


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(host: Host) -> None:
    Path(host / "elsewhere").write_text("text\n")
    Path(host / "a").symlink_to(host / "elsewhere")
    Path(host / "elsewhere").chmod(0o600)
    answer = host.converge(files=[host.file("a", "new\n")])
    assert not Path(host / "a").is_symlink()
    assert Path(host / "a").read_text() == "new\n"
    assert (Path(host / "elsewhere").read_text(), mode_of(host / "elsewhere")) == ("text\n", 0o600)
    assert "symbolic link to" in answer["diff"][0]["before"]


def test_a_link_for_a_directory_is_followed_if_it_is_trusted(host: Host) -> None:
    Path(host / "disk").mkdir(mode=0o700)
    Path(host / "data").symlink_to("disk")
    host.converge(directories=[host.directory("data"), host.directory("data/a")])
    assert Path(host / "data").is_symlink()
    assert mode_of(host / "disk") == 0o750
    assert Path(host / "disk/a").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can create the link of another user")
@pytest.mark.parametrize("kind", ["directories", "files", "links", "absent"])
def test_a_link_of_another_user_on_the_way_is_rejected(host: Host, kind: str) -> None:
    Path(host / "disk").mkdir()
    Path(host / "disk/a").symlink_to("x")
    Path(host / "data").symlink_to("disk")
    Path(host / "through").symlink_to("data")
    os.lchown(host / "data", 1000, 1000)
    for way in ("data", "through"):
        path = f"{way}/a"
        entry: Any = {
            "directories": host.directory(path),
            "files": host.file(path),
            "links": {"path": host / path, "target": "y"},
            "absent": host / path,
        }[kind]
        resources: dict[str, Any] = {kind: [entry]}
        assert f"behind the symbolic link {host / 'data'}" in host.call(**resources)["msg"]
    assert Path(host / "disk/a").readlink() == Path("x")


def test_a_removed_directory_leaves_what_its_links_point_to(host: Host) -> None:
    Path(host / "kept").mkdir()
    Path(host / "kept/file").write_text("")
    Path(host / "old/deep").mkdir(parents=True)
    Path(host / "old/deep/link").symlink_to(host / "kept")
    host.converge(absent=[host / "old", host / "never-there"])
    assert not Path(host / "old").exists()
    assert Path(host / "kept/file").exists()


def test_commands_run_again_until_the_files_are_applied(host: Host) -> None:
    command = {
        "name": "part",
        "files": [host / "a", host / "b"],
        "commands": [f"sh -c 'echo applied >> {host / 'log'}'"],
        "record": host / "record",
    }
    files = [host.file("a", "1\n"), host.file("b", "1\n")]
    assert "apply part" in host.converge(files=files, commands=[command])["changed_items"]
    assert host.converge(files=files, commands=[command])["changed"] is False
    changed = [files[0], host.file("b", "2\n")]
    assert host.call(check=True, files=changed, commands=[command])["changed_items"] == [host / "b", "apply part"]
    broken = {**command, "commands": ["false"]}
    failed = host.call(files=changed, commands=[broken])
    assert f"part: false failed:  Changed before: {host / 'b'}." in failed["msg"]
    assert failed["changed_items"] == [host / "b"]
    assert host.converge(files=changed, commands=[command])["changed_items"] == ["apply part"]
    Path(host / "record").write_bytes(b"\xff\0")
    assert host.converge(files=changed, commands=[command])["changed_items"] == ["apply part"]
    assert Path(host / "log").read_text() == "applied\n" * 3


def test_the_record_is_what_sha256sum_prints(host: Host) -> None:
    """Hosts have records that earlier releases wrote with it."""
    Path(host / "a").write_text("1\n")
    Path(host / "a").chmod(0o640)
    summed = subprocess.run(["sha256sum", host / "a"], capture_output=True, text=True, check=True)
    Path(host / "record").write_text(summed.stdout)
    command = {"name": "part", "files": [host / "a"], "commands": ["false"], "record": host / "record"}
    assert host.converge(files=[host.file("a", "1\n")], commands=[command])["changed"] is False


@pytest.mark.parametrize(
    ("outdated", "named", "commands"),
    [
        ("report", ["a.service"], ["start -- b.service"]),
        ("leave", ["a.service", "b.service"], []),
        ("restart", ["a.service"], ["restart -- a.service", "start -- b.service"]),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_service_whose_inputs_change_is_outdated(
    host: Host, outdated: str, named: list[str], commands: list[str], check: bool
) -> None:
    host.add_unit("a.service")
    host.add_unit("b.service", active="inactive")
    host.add_unit("c.service")
    services = [
        {"name": f"{name}.service", "state": "started", "inputs": [host / name], "outdated": outdated}
        for name in ("a", "b", "c")
    ]
    Path(host / "a").mkdir()
    answer = host.call(check, files=[host.file("a/x"), host.file("b"), host.file("ab")], services=services)
    assert answer["outdated"] == named
    assert host.commands == ([] if check else commands)
    assert [item for item in answer["changed_items"] if item.endswith(".service")] == [
        command.split()[-1] for command in commands
    ]


def test_an_owner_or_a_mode_alone_restarts_and_applies_nothing(host: Host) -> None:
    """A gateway must not log in again, nor the engine end its containers, because somebody changed a mode."""
    Path(host / "inputs").mkdir(mode=0o700)
    file = Path(host / "inputs/a")
    file.write_text("text\n")
    file.chmod(0o600)
    os.utime(file, (1, 1))
    Path(host / "applied").write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file}\n")
    host.add_unit("a.service")
    service = {"name": "a.service", "state": "started", "inputs": [host / "inputs"], "outdated": "restart"}
    loads = {"reload_inputs": [host / "inputs"], "loaded": host / "applied"}
    command = {"name": "a", "files": [str(file)], "commands": ["false"], "record": host / "applied"}
    for services in ([service], [{**service, "inputs": [], **loads}]):
        Path(host / "inputs").chmod(0o700)
        file.chmod(0o600)
        answer = host.converge(
            directories=[host.directory("inputs")], files=[host.file("inputs/a")], commands=[command], services=services
        )
        assert answer["changed_items"] == [host / "inputs", str(file)]
        assert (answer["outdated"], answer["reload_due"], host.commands) == ([], [], [])


def test_a_service_of_another_program_is_outdated(host: Host) -> None:
    releases = host.path / "releases"
    (releases / "1").mkdir(parents=True)
    (releases / "2").mkdir()
    program = releases / "1/python"
    program.symlink_to(sys.executable)
    Path(host / "current").symlink_to("releases/1")
    with subprocess.Popen([program, "-c", "input()"], stdin=subprocess.PIPE) as process:
        host.add_unit("a.service", process=str(process.pid))
        service = {"name": "a.service", "state": "started", "program": host / "current"}
        assert host.converge(services=[service])["outdated"] == []
        Path(host / "current").unlink()
        Path(host / "current").symlink_to("releases/2")
        assert host.converge(services=[service])["outdated"] == ["a.service"]
        process.communicate(b"\n")


def test_a_reload_is_due_after_a_change_until_it_is_loaded(host: Host) -> None:
    host.add_unit("a.service")
    service = {"name": "a.service", "reload_inputs": [host / "a"], "loaded": host / "loaded"}
    Path(host / "loaded").write_text("")
    files = [host.file("a")]
    assert host.call(check=True, files=files, services=[service])["reload_due"] == ["a.service"]
    assert host.converge(files=files, services=[service])["reload_due"] == ["a.service"]
    os.utime(host / "loaded", (time.time() + 1, time.time() + 1))
    assert host.converge(files=files, services=[service])["reload_due"] == []
    Path(host / "loaded").unlink()
    assert host.converge(files=files, services=[service])["reload_due"] == ["a.service"]
    host.add_unit("a.service", active="inactive")
    assert host.converge(files=files, services=[service])["reload_due"] == []


def test_a_service_between_two_starts_is_not_outdated(host: Host) -> None:
    """The gateway's unit waits in this state before it starts again, and reads the files then."""
    Path(host / "a").write_text("")
    host.add_unit("a.service", active="activating", started=1.0, process="0")
    assert host.converge(services=[{"name": "a.service", "inputs": [host / "a"]}])["outdated"] == []


def test_a_service_older_than_its_inputs_is_outdated_although_nothing_changes(host: Host) -> None:
    """As after a deploy that was interrupted between the files and the restart."""
    Path(host / "inputs/deep").mkdir(parents=True)
    file = Path(host / "inputs/deep/a")
    file.write_text("")
    host.add_unit("a.service", started=file.stat().st_mtime - 10)
    service = {"name": "a.service", "state": "started", "inputs": [host / "inputs"]}
    answer = host.converge(services=[service])
    assert (answer["changed"], answer["outdated"]) == (False, ["a.service"])
    restarted = host.converge(services=[{**service, "outdated": "restart"}])
    assert (restarted["changed_items"], host.commands) == (["a.service"], ["restart -- a.service"])
    os.utime(file, (time.time() - 60, time.time() - 60))
    assert host.converge(services=[service])["outdated"] == []


def test_a_start_need_not_be_awaited(host: Host) -> None:
    host.add_unit("a.service", active="inactive")
    host.converge(services=[{"name": "a.service", "state": "started", "block": False}])
    assert host.commands == ["start --no-block -- a.service"]


def test_a_service_is_stopped_and_disabled(host: Host) -> None:
    host.add_unit("a.service")
    answer = host.converge(services=[{"name": "a.service", "enabled": False, "state": "stopped"}])
    assert answer["changes"] == ["disable a.service at boot", "stop a.service"]
    assert host.commands == ["disable -- a.service", "stop -- a.service"]


def test_a_unit_that_does_not_exist_is_stopped_and_disabled(host: Host) -> None:
    """As the screen of a gateway that was removed, or that was never deployed."""
    ended = {"name": "missing.service", "enabled": False, "state": "stopped"}
    assert host.converge(services=[ended])["changed"] is False
    for more in ({"state": "started"}, {"enabled": True}):
        answer = host.call(services=[{**ended, **more}])
        assert answer["problems"] == ["missing.service does not exist on this host."]


def test_a_service_that_does_not_start_is_an_error_that_names_what_was_changed(host: Host) -> None:
    host.add_unit("broken.service", active="inactive")
    answer = host.call(files=[host.file("a")], services=[{"name": "broken.service", "state": "started"}])
    assert "Job for broken.service failed." in answer["msg"]
    assert f"Changed before: {host / 'a'}." in answer["msg"]
    assert answer["changed"] is True


def test_the_module_without_its_action_plugin_is_an_error(host: Host) -> None:
    arguments = {"files": [{"path": host / "a", "mode": "0644", "content": "x"}]}
    assert "so that its action plugin" in answer_of("host_resources", arguments, os.environ)["msg"]
    arguments["contents"] = "x"  # type: ignore[assignment]
    assert "set by the action plugin" in answer_of("host_resources", arguments, os.environ)["msg"]
