"""The command `gateway-watch doctor`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gateway_watch import status
from gateway_watch.doctor import bundle, report
from gateway_watch.doctor.checks import Check, examine, first_failure
from gateway_watch.doctor.collect import collect, output_of
from gateway_watch.doctor.facts import Facts
from gateway_watch.engine import Engine, EngineError
from gateway_watch.instance import Instance

LOG_LINES = 2000
_MISSING = "(not available)"


def run(
    name: str, config_root: Path, show: Callable[[str], None], *, as_json: bool, reach_out: bool, directory: Path | None
) -> bool:
    """Diagnose an instance, with `directory` also into a bundle there; whether no check failed and a requested bundle
    was written: on a full disk it is not, and the checks show why. Raises OSError."""
    facts = asyncio.run(collect(name, config_root, reach_out=reach_out))
    at = datetime.now(UTC)
    checks = examine(facts)
    path, failure = None, ""
    if directory is not None:
        path = directory / f"{name}-{at:%Y%m%dT%H%M%SZ}.tar.gz"
        try:
            secrets = bundle.secrets_of(facts.instance) if facts.instance is not None else ()
            bundle.write(path, asyncio.run(_texts(facts, at, checks)), bundle.masker(secrets), at)
        except OSError as error:
            failure = f"The bundle {path} was not written: {error.strerror or error}."
            path = None
    if as_json:
        written = {"bundle": str(path) if path else None, "bundle_failure": failure}
        show(json.dumps(report.to_json(name, at, checks) | written, indent=2))
    else:
        ending = f"Bundle: {path}" if path else failure
        show(report.render(name, at, checks) + (f"\n\n{ending}" if ending else ""))
    return first_failure(checks) is None and not failure


async def _texts(facts: Facts, at: datetime, checks: tuple[Check, ...]) -> dict[str, str]:
    texts = {
        "doctor.txt": report.render(facts.name, at, checks),
        "doctor.json": json.dumps(report.to_json(facts.name, at, checks), indent=2),
        "host/os-release": await _text(["cat", "/etc/os-release"]),
        "host/uptime": await _text(["uptime"]),
        "host/disk": await _text(["df", "--human-readable", "--local"]),
        "host/memory": await _text(["free", "--mebi"]),
        "host/clock": await _text(["timedatectl", "status"]),
        "host/ports": await _text(["ss", "--listening", "--tcp", "--numeric"]),
    }
    instance = facts.instance
    if instance is None:
        return texts
    texts |= bundle.state_texts(instance)
    if facts.status is not None:
        texts["status.json"] = json.dumps(status.to_json(facts.status), indent=2)
    texts["unit/unit"] = await _text(["systemctl", "cat", instance.unit])
    texts["unit/state"] = await _text(["systemctl", "status", "--no-pager", "--lines=0", instance.unit])
    texts["unit/journal"] = await _text(
        ["journalctl", "--no-pager", "--output=short-iso", f"--lines={LOG_LINES}", f"--unit={instance.unit}"]
    )
    engine = Engine()
    texts["engine/version"] = await _docker(engine.run("version"))
    texts["engine/container.json"] = await _docker(_inspect(engine, instance))
    texts["engine/image.json"] = await _docker(engine.run("image", "inspect", instance.image, "--format", _IMAGE))
    return texts


_IMAGE = "{{.Id}} {{json .RepoDigests}} {{.Created}} {{.Architecture}}"


async def _inspect(engine: Engine, instance: Instance) -> str:
    return bundle.inspection(await engine.run("container", "inspect", instance.container))


async def _text(command: Sequence[str]) -> str:
    output = await output_of(command, or_failed=True)
    return _MISSING if output is None else output


async def _docker(answer: Awaitable[str]) -> str:
    try:
        return await answer
    except EngineError as error:
        return f"({error})"
