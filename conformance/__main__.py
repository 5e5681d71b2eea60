"""Capture the lines of the flows, or show those of one: python -m conformance capture [FLOW...] | show FLOW | list."""

from __future__ import annotations

import argparse
import sys

from conformance import captured
from conformance.controller import Controller, UnavailableError
from conformance.flow import Flow
from conformance.flows import FLOWS
from conformance.ibc import Ibc
from conformance.ibcontroller import Ibcontroller
from conformance.ibcontroller_flows import IBCONTROLLER_FLOWS
from conformance.play import AT_A_TIME, FlowError, play_all

CONTROLLERS: dict[str, Controller] = {"ibc": Ibc(), "ibcontroller": Ibcontroller()}
FLOWS_OF = {"ibc": FLOWS, "ibcontroller": IBCONTROLLER_FLOWS}


def main() -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args()
    controller = CONTROLLERS[options.controller]
    try:
        match options.command:
            case "list":
                for flow in FLOWS_OF[controller.name].values():
                    print(f"{flow.name:40} {flow.about}")  # noqa: T201
            case "show":
                return _show(controller, options.flow)
            case "capture":
                return _capture(controller, options.flows, options.at_a_time)
    except (UnavailableError, FlowError) as error:
        print(f"ERROR: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyError as error:
        print(f"ERROR: there is no flow {error}; python -m conformance list shows them", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _named(controller: Controller, names: list[str]) -> list[Flow]:
    """The flows of these names, or all. Raises KeyError."""
    flows = FLOWS_OF[controller.name]
    return [flows[name] for name in names] if names else list(flows.values())


def _show(controller: Controller, name: str) -> int:
    for recording in play_all(controller, _named(controller, [name]), 1):
        if isinstance(recording, FlowError):
            raise recording
        for line in recording.lines:
            print(f"{line.at:7.2f} {line.text}")  # noqa: T201
        print(f"exit code: {recording.exit_code}")  # noqa: T201
    return 0


def _capture(controller: Controller, names: list[str], at_a_time: int) -> int:
    failed = False
    for recording in play_all(controller, _named(controller, names), at_a_time):
        if isinstance(recording, FlowError):
            print(f"ERROR: {recording}", file=sys.stderr)  # noqa: T201
            failed = True
            continue
        entry = captured.of_recording(recording, controller)
        changed = captured.write(controller, entry)
        print(f"{'changed' if changed else 'same':8} {entry.flow}", flush=True)  # noqa: T201
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--controller", choices=sorted(CONTROLLERS), default="ibc")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the flows")
    show = commands.add_parser("show", help="run one flow and print its lines")
    show.add_argument("flow")
    capture = commands.add_parser("capture", help="run flows and write their captured lines")
    capture.add_argument("flows", nargs="*", metavar="FLOW")
    capture.add_argument("--at-a-time", type=int, default=AT_A_TIME, metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main())
