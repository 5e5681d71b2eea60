"""Collects the facts for the doctor on the host. What cannot be found out is missing, with a sentence in `errors`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway_watch import status
from gateway_watch.clock_error import COMMAND, ClockError, parse_tracking
from gateway_watch.doctor import network
from gateway_watch.doctor.facts import Clock, Credentials, Facts, FileFacts, ImageFacts, Outbox, Space
from gateway_watch.engine import Engine, EngineError
from gateway_watch.instance import CONFIG_ROOT, Instance, InstanceError, load
from gateway_watch.signatures import SignatureFileError
from gateway_watch.signatures import load as load_signatures

CONTAINER_USER = 1000
ENGINE_DATA = Path("/var/lib/docker")
COMMAND_SECONDS = 10.0


async def collect(
    name: str, config_root: Path = CONFIG_ROOT, engine: Engine | None = None, *, reach_out: bool = False
) -> Facts:
    """All facts of the instance `name`; with `reach_out` also the way to IBKR's servers."""
    engine = engine or Engine()
    facts = Facts(name, space=_space((Path("/"), ENGINE_DATA)), memory_available=memory_available())
    facts = replace(facts, clock=await read_clock())
    try:
        instance = load(name, config_root)
        load_signatures(instance.login_controller)
    except (InstanceError, SignatureFileError) as error:
        return replace(facts, instance_error=str(error))
    settings = instance.state_dir.parent / "settings"
    errors: list[str] = []
    live_restore = image = None
    try:
        image = await _image(engine, instance)
        live_restore = (await engine.run("info", "--format", "{{.LiveRestoreEnabled}}")).strip() == "true"
    except EngineError as error:
        errors.append(f"{error} {error.remedy}")
    servers = None
    if reach_out:
        servers = await network.inspect(network.own_servers(settings) or network.DEFAULT_SERVERS)
    return replace(
        facts,
        instance=instance,
        credentials=_credentials(instance),
        live_restore=live_restore,
        image=image,
        settings=_file(settings),
        settings_owner=CONTAINER_USER,
        space=_space((Path("/"), ENGINE_DATA, instance.state_dir)),
        servers=servers,
        status=await status.collect(instance, engine, verified=True),
        outbox=outbox_of(instance, os.environ),
        errors=tuple(errors),
    )


def memory_available(file: Path = Path("/proc/meminfo")) -> int | None:
    """MemAvailable in bytes."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", file.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None


async def read_clock() -> Clock:
    """From chrony, else from systemd's own view; a container has the clock of its machine, which sets it."""
    if (output := await output_of(COMMAND)) is not None:
        return clock_of(parse_tracking(output))
    if await output_of(["systemd-detect-virt", "--container"]) is not None:
        return Clock("of the machine that runs this container", None)
    if (output := await output_of(["timedatectl", "show", "--property=NTPSynchronized", "--value"])) is not None:
        return Clock("timedatectl", {"yes": True, "no": False}.get(output.strip()))
    return Clock("neither chronyc nor timedatectl answers", None)


def clock_of(error: ClockError) -> Clock:
    """The clock as chrony measures it."""
    return Clock(error.reason if error.synchronised is None else "chrony", error.synchronised, error.offset)


async def output_of(command: Sequence[str], *, or_failed: bool = False) -> str | None:
    """What a program prints; None if it is missing, does not end in time, or fails (but with `or_failed` also then)."""
    program = shutil.which(command[0])
    if program is None:
        return None
    process = await asyncio.create_subprocess_exec(
        program, *command[1:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    return output.decode(errors="replace") if process.returncode == 0 or or_failed else None


def _credentials(instance: Instance) -> Credentials:
    user_file = instance.secrets_dir / "login.env"
    passwords = sorted(instance.secrets_dir.glob("tws_password*"))
    try:
        named = re.search(r"^\w*USER\w*=\S", user_file.read_text(encoding="utf-8"), re.MULTILINE) is not None
    except (OSError, UnicodeDecodeError):
        named = True  # the file's own fault is reported
    return Credentials(_file(user_file), tuple(_file(path) for path in passwords), named)


def _file(path: Path) -> FileFacts:
    try:
        found = path.stat()
    except OSError as error:
        return FileFacts(path, error=(error.strerror or str(error)).lower())
    return FileFacts(path, stat.S_IMODE(found.st_mode), found.st_uid, stat.S_ISREG(found.st_mode) and not found.st_size)


async def _image(engine: Engine, instance: Instance) -> ImageFacts:
    try:
        document = json.loads(await engine.run("image", "inspect", instance.image))
    except EngineError as error:
        if "no such image" in str(error).lower() or "no such object" in str(error).lower():
            return ImageFacts(instance.image, present=False)
        raise
    return ImageFacts(instance.image, present=True, id=document[0]["Id"])


def _space(paths: Sequence[Path]) -> tuple[Space, ...]:
    found = {}
    for path in paths:
        try:
            device, free = path.stat().st_dev, os.statvfs(path)
        except OSError:
            continue
        # A file system without inodes of its own reports none.
        inodes = free.f_favail if free.f_files else -1
        found[device] = Space(path, free.f_bavail * free.f_frsize, free.f_blocks * free.f_frsize, inodes)
    return tuple(found.values())


def outbox_of(instance: Instance, environment: Mapping[str, str]) -> Outbox | None:
    file = instance.secret("notify_urls", environment)
    try:
        if not file.exists() or not file.stat().st_size:
            return Outbox(0)
    except OSError:
        return None
    # Imported here: they cost memory and time that a gateway without notifications never needs.
    from notifications.delivery import AddressError, read_addresses, usable_targets
    from notifications.outbox import Outbox as Stored
    from notifications.outbox import OutboxError

    try:
        targets, faults = usable_targets(read_addresses(file))
    except AddressError as error:
        return Outbox(0, faults=(str(error),))
    if not instance.outbox_file.exists():
        return Outbox(len(targets), faults=tuple(faults))
    try:
        stored = Stored(instance.outbox_file, time.time)
        try:
            states = stored.states()
        finally:
            stored.close()
    except OutboxError as error:
        return Outbox(len(targets), faults=(*faults, str(error)))
    return Outbox(len(targets), states.get("queued", 0), states.get("failed", 0), tuple(faults))
