"""gateway-simulatorctl: sends one command to a running simulator."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

from gateway_simulator.control import COMMANDS, HOST
from gateway_simulator.settings import SettingsError, read_control_port

TIMEOUT = 120.0
"""Seconds: a held clock that is advanced by days, with orders at work, takes its time."""


def parser() -> argparse.ArgumentParser:
    """Create the command line: one subcommand for each control command."""
    top = argparse.ArgumentParser(prog="gateway-simulatorctl", description="Controls a running gateway simulator.")
    top.add_argument("--port", type=int, help="control port (default: GATEWAY_SIMULATOR_CONTROL_PORT or 4010)")
    top.add_argument("--mode", choices=("live", "paper"), help="only this gateway (default: all that run)")
    top.add_argument("--json", action="store_true", help="print the answer as JSON")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help)
        for argument in command.arguments:
            _add_argument(sub, argument)
    return top


def _add_argument(sub: argparse.ArgumentParser, name: str) -> None:
    word = name.strip("[]")
    if word.startswith("--"):
        sub.add_argument(word, dest=name, action="append_const", const=word, default=[])
    elif name.endswith("..."):
        sub.add_argument(name, nargs="+", metavar=word.removesuffix("..."))
    else:
        sub.add_argument(name, nargs="?" if name.startswith("[") else 1, default=[], metavar=word)


def _given(options: argparse.Namespace) -> list[str]:
    """The arguments of the command in their order, without those left out."""
    arguments: list[str] = []
    for name in COMMANDS[options.command].arguments:
        value = getattr(options, name)
        arguments += [value] if isinstance(value, str) else value
    return arguments


def request(port: int, command: str, arguments: Sequence[str] = (), mode: str | None = None) -> dict[str, Any]:
    """Send one request and return its answer; OSError when no simulator answers."""
    line = json.dumps({"command": command, "arguments": list(arguments), "mode": mode}).encode() + b"\n"
    with socket.create_connection((HOST, port), timeout=TIMEOUT) as connection, connection.makefile("rwb") as stream:
        stream.write(line)
        stream.flush()
        answer = stream.readline()
    if not answer:
        raise ConnectionError("the simulator closed the connection without an answer")
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; exit 0: done, 1: refused, 2: no simulator answers or bad usage."""
    options = parser().parse_args(argv)
    arguments = _given(options)
    try:
        port = options.port or read_control_port(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"gateway-simulatorctl: {error}\n")
        return 2
    try:
        answer = request(port, options.command, arguments, options.mode)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"gateway-simulatorctl: no simulator answers on {HOST}:{port}: {error}\n")
        return 2
    if not answer.get("ok"):
        sys.stderr.write(f"gateway-simulatorctl: {answer.get('error')}\n")
        return 1
    sys.stdout.write(_as_json(answer) if options.json else _as_text(answer["result"]))
    return 0


def _as_json(answer: dict[str, Any]) -> str:
    return json.dumps(answer["result"], indent=2) + "\n"


def _as_text(result: dict[str, Any]) -> str:
    lines: list[str] = []
    for mode, value in result.items():
        if isinstance(value, dict):
            lines += [f"{mode} {key} {_word(each)}".rstrip() for key, each in value.items()]
        elif isinstance(value, list):
            lines += [f"{mode}: {each}" for each in value]
        else:
            lines.append(f"{mode}: {value}")
    return "".join(line + "\n" for line in lines)


def _word(value: object) -> str:
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main())
