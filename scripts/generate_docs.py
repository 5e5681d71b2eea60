"""Write the generated parts of docs/: the variables of all roles, every failure with its remedy, the flows of the real
login controllers, the metrics.

`generate_docs.py` writes them; `generate_docs.py --check` reports outdated ones and exits with 1.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from conformance import captured  # noqa: E402 - found by the path above
from conformance.expected import Row  # noqa: E402 - likewise
from conformance.tables import TABLES  # noqa: E402 - likewise

from gateway_watch import signatures  # noqa: E402 - found by the path above
from gateway_watch.breaker import BAD_LOGIN  # noqa: E402 - likewise
from gateway_watch.metrics import specs as gateway_metrics  # noqa: E402 - likewise
from host_service.metric_families import Label, MetricSpec  # noqa: E402 - likewise
from ib_connection import causes as connection  # noqa: E402 - likewise
from position_manager.service import metrics as manager_metrics  # noqa: E402 - likewise
from unit_recovery import causes as units  # noqa: E402 - likewise

CONTROLLERS = {"ibc": "IBC", "ibcontroller": "py-ib-controller"}
NEXT_STEPS = {
    "hangs": "does nothing more; the unit restarts it unless manual intervention is needed",
    "waits": "waits until somebody acts; it is not restarted",
    "exits": "ends; the unit starts it again or stays stopped",
    "logs_in_again": "asks again",
    "restarts": "restarts by itself",
    "goes_on": "continues",
}


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def variables() -> str:
    """docs/variables.md: a table for each role, from its argument specs."""
    parts = [
        "# Variables\n\nGenerated from the roles' argument specs by `make docs`. "
        "Set them in the inventory's `group_vars/`; secrets in a vault.",
    ]
    for specs in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        role = specs.parents[1].name
        main = yaml.safe_load(specs.read_text())["argument_specs"]["main"]
        options = main.get("options", {})
        parts.append(f"## {role}\n\n{main['short_description']}.")
        if options:
            parts.append(
                table(
                    ("variable", "type", "default", "meaning"),
                    (
                        (
                            f"`{name}`",
                            option["type"],
                            f"`{json.dumps(option['default'])}`" if "default" in option else "see defaults/main.yml",
                            " ".join(option["description"])
                            if isinstance(option["description"], list)
                            else option["description"],
                        )
                        for name, option in options.items()
                    ),
                )
            )
    return "\n\n".join(parts) + "\n"


def tries(cause: signatures.Cause) -> str:
    """How many times in a row the cause may occur before no further login is tried."""
    if cause.id == BAD_LOGIN:
        return "`ib_gateway_max_bad_logins`"
    if cause.tries:
        return str(cause.tries)
    ends = cause.person and cause.next_step not in ("waits", "goes_on")
    return "1" if ends else "no limit"


def failures() -> str:
    """The generated part of the troubleshooting page: login failures, exit codes and connection failures."""
    controllers = {title: signatures.load(name) for name, title in CONTROLLERS.items()}
    return "\n\n".join(
        (
            *(
                part
                for title, known in controllers.items()
                for part in (f"### The login fails (from the gateway's log, {title})", login_failures(known))
            ),
            "### Exit codes of the container, where no line of the log explains them",
            table(
                ("controller", "exit code", "cause", "what to do"),
                (
                    (title, str(code), f"`{cause.id}`", cause.remedy)
                    for title, known in controllers.items()
                    for code, cause in known.exits.items()
                ),
            ),
            "### The unit does not start (from systemd, before its program runs)",
            table(
                ("cause", "what it is", "what to do"),
                (
                    (f"`{kind.id}`", kind.text.format(what="…"), kind.remedy.replace("UNIT", "the unit"))
                    for kind in units.KINDS.values()
                ),
            ),
            "### The connection fails (from the API handshake)",
            table(
                ("cause", "what was met", "what to do", "another attempt can help"),
                (
                    (f"`{c.id}`", c.text, c.remedy, "yes" if c.waiting_helps else "no")
                    for c in connection.CAUSES.values()
                ),
            ),
        )
    )


def login_failures(known: signatures.SignatureSet) -> str:
    """The causes of one login controller."""
    return table(
        ("cause", "what it is", "what to do", "the gateway meanwhile", "needs manual intervention", "tries"),
        (
            (
                f"`{c.id}`",
                c.text,
                c.remedy,
                "is stopped and started again after a pause" if c.interrupt else NEXT_STEPS[c.next_step.value],
                "yes" if c.person else "no",
                tries(c),
            )
            for c in known.causes.values()
        ),
    )


def troubleshooting(page: str) -> str:
    """The page with its generated part made new. Raises ValueError if the markers are missing."""
    return renewed(page, "failures", failures())


def flows() -> str:
    """The generated part of the conformance page: a table for each controller."""
    parts = []
    for controller, rows in TABLES.items():
        entries = captured.read_all(controller)
        parts.append(f"### {entries[0].version}: {len(entries)} flows")
        parts.append(
            table(
                ("flow", "what happens", "exit code", "what is shown", "supervisor"),
                (
                    (
                        f"`{entry.flow}`",
                        entry.about,
                        "none" if entry.exit_code is None else str(entry.exit_code),
                        shown(rows[entry.flow]),
                        decided(rows[entry.flow]),
                    )
                    for entry in entries
                ),
            )
        )
    return "\n\n".join(parts)


def controllers() -> str:
    """The generated part of the page about login controllers: what is set by what."""
    files = {name: ROOT / f"roles/ib_gateway/files/controllers/{name}.yml" for name in CONTROLLERS}
    data = {name: yaml.safe_load(file.read_text()) for name, file in files.items()}
    cells: dict[str, dict[str, list[str]]] = {}
    for name, controller in data.items():
        for variable, template in {**controller["variables"], **controller["read_only_root"]}.items():
            settings = re.findall(r"\{(\w+)\}", template)
            key = f"`ib_gateway_{settings[0]}`" if settings else "set by the role"
            key = "`ib_gateway_twofa_seconds`" if key == "`ib_gateway_twofa_wait`" else key
            value = f"`{variable}`" if settings else f"`{variable}={template}`"
            cells.setdefault(key, {}).setdefault(name, []).append(value)
    for name, controller in data.items():
        for setting, rule in controller["refused_settings"].items():
            cells.setdefault(f"`ib_gateway_{setting}`", {}).setdefault(name, []).append(
                f"only `{json.dumps(rule['value'])}`: {rule['instead']}"
            )
    rows = sorted(cells.items(), key=lambda row: (row[0] == "set by the role", row[0]))
    return table(
        ("setting", *CONTROLLERS.values()),
        ((key, *(", ".join(values.get(name, [])) or "none" for name in CONTROLLERS)) for key, values in rows),
    )


def metrics(specs: Iterable[MetricSpec]) -> str:
    """A part of the page about metrics: the table of one service."""
    return table(
        ("metric", "type", "labels", "meaning"),
        ((f"`{spec.name}`", spec.kind.value, ", ".join(map(label, spec.labels)), spec.text) for spec in specs),
    )


def label(known: Label) -> str:
    """A label with its values."""
    values = ", ".join(f"`{value}`" for value in known.values) or known.text
    return f"`{known.name}` ({values})"


def shown(row: Row) -> str:
    """The states in their order, each with its cause."""
    states = [(state, cause) for _, state, cause in row.lines] + ([row.silence] if row.silence else [])
    texts = [f"{state} ({cause})" if cause else state for state, cause in states]
    return " → ".join(text for text, before in zip(texts, ["", *texts], strict=False) if text != before)


def decided(row: Row) -> str:
    """What the supervisor does."""
    what, cause = row.outcome
    text = what if cause is None or cause == what else f"{what}: `{cause}`"
    return f"{text} [{row.limit}]" if row.limit else text


def renewed(page: str, name: str, text: str) -> str:
    """The page with the text between its markers. Raises ValueError if they are missing."""
    begin, end = f"<!-- {name}: generated by make docs -->", f"<!-- end of {name} -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"a page lacks the markers {begin} and {end}")
    return f"{head}{begin}\n\n{text}\n\n{end}{tail}"


def main() -> int:
    page = ROOT / "docs/IB-GATEWAY-TROUBLESHOOTING.md"
    conformance = ROOT / "docs/conformance.md"
    login_controllers = ROOT / "docs/login-controllers.md"
    exported = ROOT / "docs/metrics.md"
    gateway = renewed(exported.read_text(), "gateway metrics", metrics(gateway_metrics.SPECS))
    wanted = {
        ROOT / "docs/variables.md": variables(),
        page: troubleshooting(page.read_text()),
        conformance: renewed(conformance.read_text(), "flows", flows()),
        exported: renewed(gateway, "manager metrics", metrics(manager_metrics.SPECS)),
        login_controllers: renewed(login_controllers.read_text(), "controllers", controllers()),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run `make docs`.\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
