"""The resources as data, read from the module's arguments, and what is wrong with them in themselves. No I/O."""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MODE = re.compile(r"[0-7]{4}")
UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|timer|socket|path|target|mount)")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
MARK = "host_resources contents "
"""Start of the argument contents, which so equals no other text of the result."""


@dataclass(frozen=True)
class Attributes:
    """Owner, group and mode; an owner or a group of None is left as it is."""

    owner: str | None
    group: str | None
    mode: str


@dataclass(frozen=True)
class Directory:
    path: str
    attributes: Attributes


@dataclass(frozen=True)
class File:
    path: str
    attributes: Attributes
    content: bytes
    secret: bool = False
    validate: str | None = None


@dataclass(frozen=True)
class Link:
    path: str
    target: str


@dataclass(frozen=True)
class User:
    """A system user with a group of its own name, without a home directory or a login."""

    name: str


@dataclass(frozen=True)
class Command:
    """Commands that apply a set of files; `record` has the digests of the files that were applied last."""

    name: str
    files: tuple[str, ...]
    commands: tuple[str, ...]
    record: str


@dataclass(frozen=True)
class Service:
    """A unit. It is outdated if a file under `inputs` changes, or is newer than its start."""

    name: str
    enabled: bool | None = None
    state: str | None = None
    block: bool = True
    inputs: tuple[str, ...] = ()
    restart: bool = False


@dataclass(frozen=True)
class Resources:
    users: tuple[User, ...] = ()
    directories: tuple[Directory, ...] = ()
    files: tuple[File, ...] = ()
    links: tuple[Link, ...] = ()
    absent: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    services: tuple[Service, ...] = ()

    @property
    def present(self) -> list[str]:
        """The paths of everything that must exist."""
        placed: list[Directory | File | Link] = [*self.directories, *self.files, *self.links]
        return [each.path for each in placed]


class InvalidContentsError(ValueError):
    """The argument contents is not what the action plugin writes."""


def encode(contents: Iterable[bytes]) -> str:
    """The contents of all files as one text, in the order of the files."""
    return MARK + json.dumps([base64.b64encode(content).decode("ascii") for content in contents])


def decode(text: str | None) -> list[bytes]:
    """The contents that `encode` was given. Raises InvalidContentsError, without the text in its message."""
    if not text:
        return []
    if not text.startswith(MARK):
        raise InvalidContentsError("contents is set by the action plugin of host_resources; remove it from the task.")
    try:
        return [base64.b64decode(content, validate=True) for content in json.loads(text.removeprefix(MARK))]
    except (TypeError, ValueError) as error:
        raise InvalidContentsError("contents is damaged.") from error


def read(params: Mapping[str, Any]) -> Resources:
    """The resources of the module's arguments. Raises InvalidContentsError."""
    contents = decode(params["contents"])
    files = params["files"]
    if len(contents) != len(files):
        raise InvalidContentsError(
            f"There are {len(files)} files and {len(contents)} contents. "
            "Call host_resources as a task, so that its action plugin reads the contents."
        )
    return Resources(
        users=tuple(User(each["name"]) for each in params["users"]),
        directories=tuple(Directory(each["path"], _attributes(each)) for each in params["directories"]),
        files=tuple(
            File(each["path"], _attributes(each), content, each["secret"], each["validate"])
            for each, content in zip(files, contents, strict=True)
        ),
        links=tuple(Link(each["path"], each["target"]) for each in params["links"]),
        absent=tuple(params["absent"]),
        commands=tuple(
            Command(each["name"], tuple(each["files"]), tuple(each["commands"]), each["record"])
            for each in params["commands"]
        ),
        services=tuple(
            Service(
                each["name"],
                each["enabled"],
                each["state"],
                each["block"],
                tuple(each["inputs"]),
                each["outdated"] == "restart",
            )
            for each in params["services"]
        ),
    )


def _attributes(entry: Mapping[str, Any]) -> Attributes:
    return Attributes(entry["owner"], entry["group"], entry["mode"])


def problems(resources: Resources) -> list[str]:
    """What is wrong with the resources whatever is on the host, one sentence each."""
    paths = [*resources.present, *resources.absent]
    records = [command.record for command in resources.commands]
    found = [
        f"{path} is no absolute, normalized path."
        for path in [*paths, *records]
        if not path.startswith("/") or posixpath.normpath(path) != path
    ]
    found += [f"{path} is given {paths.count(path)} times." for path in dict.fromkeys(paths) if paths.count(path) > 1]
    for path in resources.absent:
        if path.count("/") < 2:
            found.append(f"{path} is a directory of the system; it is not removed.")
        found += [f"{path} is to be removed and contains {other}." for other in paths if below(other, path)]
    attributed: list[Directory | File] = [*resources.directories, *resources.files]
    for each in attributed:
        if not MODE.fullmatch(each.attributes.mode):
            found.append(f"The mode of {each.path} is {each.attributes.mode}; write four octal digits in quotes.")
    for file in resources.files:
        if file.validate is not None and "%s" not in file.validate:
            found.append(f"validate of {file.path} has no %s, the place of the file to validate.")
    found += [
        f"{each.name} is no name of a unit with its type."
        for each in resources.services
        if not UNIT.fullmatch(each.name)
    ]
    found += [f"{user.name} is no name of a system user." for user in resources.users if not USER.fullmatch(user.name)]
    return found


def below(path: str, directory: str) -> bool:
    """Whether the path is in the directory, at any depth."""
    return path.startswith(directory.rstrip("/") + "/")


def touches(paths: Iterable[str], inputs: Sequence[str]) -> bool:
    """Whether one of the paths is one of the inputs, or in one of them."""
    return any(path == each or below(path, each) for path in paths for each in inputs)
