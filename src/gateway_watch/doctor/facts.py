"""The facts about a gateway and its host. Every field may be missing: its check then reports unknown."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gateway_watch.instance import Instance
from gateway_watch.status import Status


@dataclass(frozen=True)
class FileFacts:
    """A file or directory; `empty` only for files. `error` is why it could not be inspected, such as a missing file."""

    path: Path
    mode: int = 0
    uid: int = 0
    empty: bool = False
    error: str = ""


@dataclass(frozen=True)
class Credentials:
    """The files that hold the login; their content is never part of it.

    `named` is whether the file of the user name assigns one.
    """

    user_file: FileFacts
    password_files: tuple[FileFacts, ...]
    named: bool = True


@dataclass(frozen=True)
class ImageFacts:
    """The image at the engine: `present`, and its id."""

    reference: str
    present: bool
    id: str = ""


@dataclass(frozen=True)
class Space:
    """Free space of the file system of `path`, in bytes, and free inodes."""

    path: Path
    free: int
    total: int
    free_inodes: int


@dataclass(frozen=True)
class Clock:
    """The system clock. `offset` is its error in seconds as chrony estimates it (positive: ahead of true time), None
    if no program measures it; `synchronised` None if unknown. `source` names the program that was read."""

    source: str
    synchronised: bool | None
    offset: float | None = None


@dataclass(frozen=True)
class Server:
    """One server of IBKR: its `addresses` (empty: the name does not resolve), and why connection or TLS failed."""

    host: str
    port: int
    addresses: tuple[str, ...] = ()
    connect_error: str = ""
    tls: bool = False
    tls_error: str = ""


@dataclass(frozen=True)
class Outbox:
    """Notifications: how many targets are configured, and how many deliveries are waiting or failed."""

    targets: int
    queued: int = 0
    failed: int = 0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """All facts. `instance_error` and a missing `instance` mean that the configuration is unusable: only the facts of
    the host are known then. `servers` is None if the network was not to be tested."""

    name: str
    instance: Instance | None = None
    instance_error: str = ""
    credentials: Credentials | None = None
    live_restore: bool | None = None
    image: ImageFacts | None = None
    settings: FileFacts | None = None
    settings_owner: int = 1000
    space: tuple[Space, ...] = ()
    memory_available: int | None = None
    clock: Clock | None = None
    servers: tuple[Server, ...] | None = None
    status: Status | None = None
    outbox: Outbox | None = None
    errors: tuple[str, ...] = field(default=())
    """Facts that could not be collected, one sentence each."""
