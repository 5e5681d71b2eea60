"""The gateways' containers and their engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway_watch.instance import CONFIG_ROOT, Instance, InstanceError, load
from host_audit.host import Host, UnreadableError
from host_audit.point import LIVE, Point, must, should

ENGINE = must(
    "engine", "Docker engine", "answers on its local socket only, with live-restore", "Run site.yml --tags host."
)
LOGS = must("container-logs", "Container logs", "their size is limited", "Run site.yml --tags host.")
HARDENING = must(
    "hardening",
    "Container hardening",
    "not root, no capabilities, no new privileges, limits for memory and processes, not privileged",
    "Run site.yml --tags gateway.",
    LIVE,
)
ROOT = should(
    "read-only-root", "Read-only root", "the container's root is read-only", "Set ib_gateway_read_only_root: true."
)
PUBLISHED = must("published", "Published ports", "on 127.0.0.1 only", "Run site.yml --tags gateway.", LIVE)
PINNED = must("pinned", "Image", "pinned by version or digest", "Pin a version in ib_gateway_image.", LIVE)
SOCKET = must("engine-socket", "Engine socket in a container", "no container has it", "Remove that container.")


def instances(host: Host) -> Iterator[Instance | InstanceError]:
    """Every gateway of the host, or why it cannot be read."""
    root = host.path(CONFIG_ROOT)
    for path in sorted(root.glob("*/instance.json")):
        try:
            yield load(path.parent.name, root)
        except InstanceError as error:
            yield error


def check(host: Host) -> Iterator[Point]:
    try:
        information: dict[str, Any] = host.json("docker", "info", "--format", "{{json .}}")
    except UnreadableError as error:
        yield ENGINE.unknown(str(error))
        yield LOGS.unknown(str(error))
        return
    faults = [] if information.get("LiveRestoreEnabled") else ["live-restore is off"]
    faults += _sockets(host)
    yield ENGINE.of(faults, f"{information.get('ServerVersion')}, live-restore")
    yield LOGS.of(_log_faults(host, information), f"driver {information.get('LoggingDriver')}, limited")
    names = host.run("docker", "ps", "--all", "--format", "{{.Names}}").split()
    documents = {name: host.json("docker", "container", "inspect", name)[0] for name in names}
    mounted = [
        name
        for name, document in documents.items()
        if any("docker.sock" in str(mount.get("Source", "")) for mount in document.get("Mounts", ()))
    ]
    yield SOCKET.of(mounted, "none")
    for instance in instances(host):
        if isinstance(instance, InstanceError):
            continue
        yield _pinned(instance)
        document = documents.get(instance.container)
        if document is None:
            yield HARDENING.unknown("the container does not exist: start the gateway", instance.name)
            continue
        yield HARDENING.of(_weaknesses(document), "as expected", instance.name)
        config = document["HostConfig"]
        yield ROOT.of([] if config.get("ReadonlyRootfs") else ["writable"], "read-only", instance.name)
        yield PUBLISHED.of(_public(document), "127.0.0.1 only", instance.name)


def _sockets(host: Host) -> Iterator[str]:
    """Addresses beside the local socket that the engine's own processes are configured to listen on."""
    for process in host.matching("/proc", "[0-9]*"):
        try:
            arguments = host.read(process / "cmdline").split("\0")
        except UnreadableError:
            continue
        if arguments[0].rpartition("/")[2] == "dockerd":
            for argument in arguments[1:]:
                if re.search(r"^(-H|--host=?)?=?tcp://", argument):
                    yield f"listens at {argument.rpartition('=')[2]}"


def _log_faults(host: Host, information: dict[str, Any]) -> Iterator[str]:
    driver = information.get("LoggingDriver")
    if driver == "local":
        return
    try:
        options = host.read_json("/etc/docker/daemon.json").get("log-opts", {})
    except UnreadableError:
        options = {}
    if driver == "json-file" and "max-size" not in options:
        yield "driver json-file without max-size"


def _weaknesses(document: dict[str, Any]) -> Iterator[str]:
    config = document["HostConfig"]
    user = str(document["Config"].get("User", "")).partition(":")[0]
    if user in ("", "0", "root"):
        yield "runs as root"
    if config.get("Privileged"):
        yield "privileged"
    if "ALL" not in (config.get("CapDrop") or ()):
        yield "has capabilities left"
    if config.get("CapAdd"):
        yield f"has {', '.join(config['CapAdd'])}"
    if not any("no-new-privileges" in option for option in config.get("SecurityOpt") or ()):
        yield "may gain privileges"
    if not config.get("Memory"):
        yield "no limit for memory"
    if not config.get("PidsLimit") or config["PidsLimit"] < 0:
        yield "no limit for processes"
    for name in ("PidMode", "IpcMode", "NetworkMode"):
        if config.get(name) == "host":
            yield f"{name} host"


def _public(document: dict[str, Any]) -> Iterator[str]:
    for inside, bindings in (document["HostConfig"].get("PortBindings") or {}).items():
        for binding in bindings or ():
            if binding.get("HostIp") not in ("127.0.0.1", "::1"):
                yield f"{inside} at {binding.get('HostIp') or 'every address'}:{binding.get('HostPort')}"


def _pinned(instance: Instance) -> Point:
    reference = instance.image
    if "@sha256:" in reference:
        return PINNED.passed(reference, instance.name)
    tag = reference.rpartition("/")[2].partition(":")[2]
    if not re.search(r"\d+\.\d+", tag):
        return PINNED.failed(f"{reference} is a moving tag", instance.name)
    return PINNED.passed(f"{reference} (by version)", instance.name)
