"""What the host_baseline role converges: the arguments of the module host_resources for the parts that are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any


def resources(
    files: Sequence[Mapping[str, str]],
    commands: Mapping[str, Sequence[str]],
    units: Mapping[str, Sequence[str]],
    wanted: Sequence[str],
    records: str,
) -> dict[str, list[dict[str, Any]]]:
    """The directories, files, commands and services of the wanted parts.

    `files` have a part, a template and a path; `records` is the directory for the digests that each part applied last.
    """
    chosen = [file for file in files if file["part"] in wanted]
    directories = sorted({str(PurePosixPath(file["path"]).parent) for file in chosen})
    return {
        "directories": [{"path": path, "mode": "0755"} for path in [*directories, records]],
        "files": [{"path": file["path"], "template": file["template"], "mode": "0644"} for file in chosen],
        "commands": [
            {
                "name": part,
                "files": [file["path"] for file in chosen if file["part"] == part],
                "commands": list(commands[part]),
                "record": f"{records}/{part}",
            }
            for part in sorted({file["part"] for file in chosen})
        ],
        "services": [
            {"name": unit, "enabled": True, "state": "started"} for part in wanted for unit in units.get(part, ())
        ],
    }


class FilterModule:
    """Filters of the host_baseline role."""

    def filters(self) -> dict[str, Any]:
        return {"host_baseline_resources": resources}
