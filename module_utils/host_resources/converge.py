"""Check all resources, then change what differs, in an order in which each finds what it needs."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from . import model, paths, systemd
from .model import Attributes, Command, Directory, File, Link, Resources, Service, User

DIFF_LIMIT = 100_000
"""Of a larger file no diff is shown."""

Entry = dict[str, Any]


class Module(Protocol):
    """What is used of an AnsibleModule."""

    check_mode: bool

    def run_command(
        self, args: Sequence[str], *, handle_exceptions: bool, environ_update: dict[str, str]
    ) -> tuple[int, str, str]: ...

    def atomic_move(self, src: str, dest: str, *, keep_dest_attrs: bool) -> None: ...

    def set_fs_attributes_if_different(
        self, file_args: dict[str, Any], changed: bool, diff: Entry | None, expand: bool
    ) -> bool: ...


class ConvergeError(RuntimeError):
    """A resource could not be converged; the message is for the operator."""


@dataclass
class Outcome:
    """What was changed, or in check mode would be."""

    items: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    diff: list[Entry] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    reload_due: list[str] = field(default_factory=list)

    def add(self, item: str, text: str, diff: Entry | None = None) -> None:
        if item not in self.items:
            self.items.append(item)
        self.changes.append(text)
        if diff is not None:
            self.diff.append(diff)


class Convergence:
    """One call of the module."""

    def __init__(self, module: Module, resources: Resources) -> None:
        self._module = module
        self._resources = resources
        self._units: dict[str, systemd.Unit] = {}
        self.outcome = Outcome()

    # -- before the first change ------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Why the resources cannot be converged on this host, one sentence each. Changes nothing."""
        found = model.problems(self._resources)
        if found:
            return found
        for user in self._resources.users:
            found += self._user_problems(user)
        for directory in self._resources.directories:
            found += self._directory_problems(directory)
        for file in self._resources.files:
            found += self._file_problems(file)
        for link in self._resources.links:
            found += self._place_problems(link.path)
            if paths.kind(link.path) not in ("absent", "link"):
                found.append(f"{link.path} is no symbolic link. Move it away if it is not needed.")
        for path in self._resources.absent:
            if (untrusted := paths.untrusted_link(path)) is not None:
                found.append(_untrusted(path, untrusted))
        found += self._service_problems()
        # Last, since these programs read files.
        return found or [problem for file in self._resources.files for problem in self._validate(file)]

    def _user_problems(self, user: User) -> list[str]:
        if _known_user(user.name) and not _known_group(user.name):
            return [f"The user {user.name} exists without a group of its name. Create the group, or remove the user."]
        return []

    def _directory_problems(self, directory: Directory) -> list[str]:
        found = self._attribute_problems(directory.path, directory.attributes)
        if (untrusted := paths.untrusted_link(directory.path, itself=True)) is not None:
            return [*found, _untrusted(directory.path, untrusted)]
        if (other := paths.not_a_directory(directory.path)) is not None:
            return [*found, f"{directory.path} cannot be created: {other} is no directory."]
        if Path(directory.path).exists() and not Path(directory.path).is_dir():
            return [*found, f"{directory.path} exists and is no directory. Move it away if it is not needed."]
        if paths.kind(directory.path) == "link" and not Path(directory.path).exists():
            return [*found, f"{directory.path} is a symbolic link to nothing. Create its target, or remove it."]
        return found

    def _file_problems(self, file: File) -> list[str]:
        found = self._attribute_problems(file.path, file.attributes) + self._place_problems(file.path)
        if paths.kind(file.path) in ("directory", "other"):
            found.append(f"{file.path} exists and is no regular file. Move it away if it is not needed.")
        return found

    def _place_problems(self, path: str) -> list[str]:
        """Whether a file or a link can be created there."""
        if (untrusted := paths.untrusted_link(path)) is not None:
            return [_untrusted(path, untrusted)]
        if (other := paths.not_a_directory(path)) is not None:
            return [f"{path} cannot be created: {other} is no directory."]
        parent = str(Path(path).parent)
        created = any(parent == each.path or model.below(each.path, parent) for each in self._resources.directories)
        # In check mode an earlier task may be to create it.
        if Path(parent).is_dir() or created or self._module.check_mode:
            return []
        return [f"{path} cannot be created: its directory does not exist. Add it to directories."]

    def _attribute_problems(self, path: str, attributes: Attributes) -> list[str]:
        created = [user.name for user in self._resources.users]
        found = []
        if attributes.owner is not None and not (_known_user(attributes.owner) or attributes.owner in created):
            found.append(f"The owner of {path}, {attributes.owner}, does not exist on this host.")
        if attributes.group is not None and not (_known_group(attributes.group) or attributes.group in created):
            found.append(f"The group of {path}, {attributes.group}, does not exist on this host.")
        return found

    def _service_problems(self) -> list[str]:
        self._units = systemd.read_units(self._run, [service.name for service in self._resources.services])
        created = [Path(path).name for path in self._resources.present if path.startswith(systemd.UNIT_FILES)]
        # One that is not there has nothing to stop: a deploy or a removal may have been interrupted.
        started = {
            service.name for service in self._resources.services if service.state != "stopped" or service.enabled
        }
        found = []
        for name, unit in self._units.items():
            if unit.masked:
                found.append(f"{name} is masked. Unmask it: systemctl unmask {name}")
            elif not unit.exists and name in started - set(created) and not self._module.check_mode:
                found.append(f"{name} does not exist on this host.")
        return found

    def _validate(self, file: File) -> list[str]:
        """Let the program check a content that is about to replace another."""
        if file.validate is None or not self._differs(file):
            return []
        program = shlex.split(file.validate)[0]
        if self._module.check_mode and shutil.which(program) is None:
            # An earlier task is to install it.
            return []
        with tempfile.NamedTemporaryFile() as staged:
            staged.write(file.content)
            staged.flush()
            command = [part.replace("%s", staged.name) for part in shlex.split(file.validate)]
            try:
                status, output, errors = self._run(command)
            except OSError as error:
                return [f"{file.path} cannot be validated: {error}"]
        if status == 0:
            return []
        # What the program prints may quote the file.
        reason = "" if file.secret else f": {(errors or output).strip()}"
        return [f"{program} rejects {file.path}{reason}"]

    # -- the changes ------------------------------------------------------------------------------------------------

    def converge(self) -> None:
        """Change what differs; in check mode only list it. Raises ConvergeError, SystemdError, OSError."""
        for user in self._resources.users:
            self._create_user(user)
        for directory in self._resources.directories:
            self._create_directory(directory)
        for file in self._resources.files:
            self._create_file(file)
        for link in self._resources.links:
            self._create_link(link)
        for path in self._resources.absent:
            self._remove(path)
        self._reload_manager()
        for command in self._resources.commands:
            self._apply(command)
        for service in self._resources.services:
            self._converge_service(service)

    def _create_user(self, user: User) -> None:
        if _known_user(user.name):
            return
        if not self._module.check_mode:
            group = ["--gid", user.name] if _known_group(user.name) else ["--user-group"]
            home = ["--home-dir", "/nonexistent", "--no-create-home", "--shell", "/usr/sbin/nologin"]
            status, output, errors = self._run(["useradd", "--system", *group, *home, user.name])
            if status != 0:
                raise ConvergeError(f"The user {user.name} could not be created: {(errors or output).strip()}")
        self.outcome.add(f"user {user.name}", f"create the user {user.name}")

    def _create_directory(self, directory: Directory) -> None:
        path = directory.path
        missing = paths.missing_directories(path)
        if not missing:
            # A link that is trusted stands for the directory that it names.
            self._set_attributes(path, os.path.realpath(path), directory.attributes)
            return
        if not self._module.check_mode:
            for step in missing:
                Path(step).mkdir(0o700)
                self._apply_attributes(step, directory.attributes, None)
        self.outcome.add(path, f"create the directory {path}", _states(path, "absent", "directory"))

    def _create_file(self, file: File) -> None:
        before = paths.kind(file.path)
        if not self._differs(file):
            self._set_attributes(file.path, file.path, file.attributes)
            return
        diff = self._content_diff(file, before)
        if not self._module.check_mode:
            self._write(file)
        verb = "create" if before == "absent" else "change"
        self.outcome.add(file.path, f"{verb} the file {file.path}", diff)

    def _differs(self, file: File) -> bool:
        return paths.kind(file.path) != "file" or Path(file.path).read_bytes() != file.content

    def _write(self, file: File) -> None:
        """Write the content beside the file, with the attributes of the file, and move it there."""
        attributes = file.attributes
        if paths.kind(file.path) == "file":
            present = os.lstat(file.path)
            attributes = Attributes(
                attributes.owner or str(present.st_uid), attributes.group or str(present.st_gid), attributes.mode
            )
        handle, staged = tempfile.mkstemp(prefix=".ansible_tmp", dir=Path(file.path).parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(file.content)
            self._apply_attributes(staged, attributes, None)
            self._module.atomic_move(staged, file.path, keep_dest_attrs=False)
        finally:
            Path(staged).unlink(missing_ok=True)
        self._apply_attributes(file.path, attributes, None)

    def _content_diff(self, file: File, before: str) -> Entry:
        if file.secret:
            return {"prepared": f"The content of {file.path} differs; it is secret and not shown.\n"}
        old = Path(file.path).read_bytes() if before == "file" else b""
        if before == "link":
            old = f"symbolic link to {Path(file.path).readlink()}\n".encode()
        if any(b"\0" in text or len(text) > DIFF_LIMIT for text in (old, file.content)):
            return {"prepared": f"The content of {file.path} differs; it is binary or too long to be shown.\n"}
        return {
            "before_header": file.path if before != "absent" else f"{file.path} (absent)",
            "after_header": file.path,
            "before": old.decode(errors="replace"),
            "after": file.content.decode(errors="replace"),
        }

    def _set_attributes(self, item: str, path: str, attributes: Attributes) -> None:
        """Correct the attributes of what is there."""
        diff: Entry = {"before": {"path": item}, "after": {"path": item}}
        if self._apply_attributes(path, attributes, diff):
            self.outcome.add(item, f"change the owner or the mode of {item}", diff)

    def _apply_attributes(self, path: str, attributes: Attributes, diff: Entry | None) -> bool:
        # In check mode a user may be yet to be created.
        owner = attributes.owner if attributes.owner is None or _known_user(attributes.owner) else None
        group = attributes.group if attributes.group is None or _known_group(attributes.group) else None
        arguments: Entry = {"path": path, "owner": owner, "group": group, "mode": attributes.mode}
        arguments |= {"secontext": [None, None, None], "attributes": None}
        changed = self._module.set_fs_attributes_if_different(arguments, False, diff, False)
        return changed or (owner, group) != (attributes.owner, attributes.group)

    def _create_link(self, link: Link) -> None:
        before = str(Path(link.path).readlink()) if paths.kind(link.path) == "link" else ""
        if before == link.target:
            return
        if not self._module.check_mode:
            # In a new directory of its own, so that nothing else can take its name.
            with tempfile.TemporaryDirectory(prefix=".ansible_tmp", dir=Path(link.path).parent) as beside:
                staged = Path(beside) / "link"
                staged.symlink_to(link.target)
                staged.replace(link.path)
        verb = "change" if before else "create"
        diff = _states(link.path, f"link to {before}" if before else "absent", f"link to {link.target}")
        self.outcome.add(link.path, f"{verb} the link {link.path}", diff)

    def _remove(self, path: str) -> None:
        before = paths.kind(path)
        if before == "absent":
            return
        if not self._module.check_mode:
            if before == "directory":
                shutil.rmtree(path)
            else:
                Path(path).unlink()
        self.outcome.add(path, f"remove {path}", _states(path, before, "absent"))

    def _reload_manager(self) -> None:
        changed = model.touches(self.outcome.items, [systemd.UNIT_FILES])
        if not self._module.check_mode and (changed or any(unit.needs_reload for unit in self._units.values())):
            systemd.reload_manager(self._run)
            self._units = systemd.read_units(self._run, list(self._units))

    def _apply(self, command: Command) -> None:
        """Run the commands unless these very files were applied before, by this run or by an earlier one."""
        record = Path(command.record)
        changed = model.touches(self.outcome.items, command.files)
        if not changed and record.is_file() and record.read_text().strip() == _digests(command.files):
            return
        if not self._module.check_mode:
            for line in command.commands:
                status, output, errors = self._run(shlex.split(line))
                if status != 0:
                    raise ConvergeError(f"{command.name}: {line} failed: {(errors or output).strip()}")
            record.write_text(_digests(command.files) + "\n")
        self.outcome.add(f"apply {command.name}", f"apply {command.name}: {'; '.join(command.commands)}")

    def _converge_service(self, service: Service) -> None:
        unit = self._units[service.name]
        name = service.name
        if service.enabled is not None and service.enabled != unit.enabled:
            verb = "enable" if service.enabled else "disable"
            self._change(verb, service, f"{verb} {name} at boot")
        if self._is_outdated(service, unit):
            if unit.running or service.outdated == "leave":
                self.outcome.outdated.append(name)
            if service.outdated == "restart" and service.state == "started" and unit.running:
                self._change("restart", service, f"restart {name}")
            if unit.running or service.outdated == "leave":
                return
        elif unit.since is not None and self._is_reload_due(service):
            self.outcome.reload_due.append(name)
        if service.state == "started" and not unit.running:
            self._change("start", service, f"start {name}")
        elif service.state == "stopped" and unit.running:
            self._change("stop", service, f"stop {name}")

    def _is_outdated(self, service: Service, unit: systemd.Unit) -> bool:
        if model.touches(self.outcome.items, service.inputs):
            return True
        if unit.since is None:
            return False
        newest = paths.newest_file(service.inputs)
        if newest is not None and newest > unit.since:
            return True
        return service.program is not None and unit.process != 0 and not paths.runs_from(unit.process, service.program)

    def _is_reload_due(self, service: Service) -> bool:
        if service.loaded is None:
            return False
        if model.touches(self.outcome.items, service.reload_inputs):
            return True
        loaded, newest = paths.newest_file((service.loaded,)), paths.newest_file(service.reload_inputs)
        return newest is not None and (loaded is None or newest > loaded)

    def _change(self, verb: str, service: Service, text: str) -> None:
        if not self._module.check_mode:
            systemd.change(self._run, verb, service.name, block=service.block)
        self.outcome.add(service.name, text)

    def _run(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        return self._module.run_command(list(arguments), handle_exceptions=False, environ_update={"LC_ALL": "C.UTF-8"})


def _untrusted(path: str, link: str) -> str:
    return f"{path} is behind the symbolic link {link}, which belongs to neither root nor this user. Remove the link."


def _states(path: str, before: str, after: str) -> Entry:
    return {"before": {"path": path, "state": before}, "after": {"path": path, "state": after}}


def _digests(files: Sequence[str]) -> str:
    """As sha256sum prints them."""
    return "\n".join(f"{hashlib.sha256(Path(file).read_bytes()).hexdigest()}  {file}" for file in files)


def _known_user(name: str) -> bool:
    if name.isdigit():
        return True
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _known_group(name: str) -> bool:
    if name.isdigit():
        return True
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
