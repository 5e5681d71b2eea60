"""What can be reached from outside."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from host_audit.host import Host, UnreadableError
from host_audit.point import LIVE, Point, must

PORTS = must(
    "ports",
    "Ports beyond loopback",
    "no program but sshd, the DHCP client and time synchronisation listens beyond 127.0.0.1",
    "Stop the program, or let it listen on 127.0.0.1; if it must be public, that is not a host for a gateway.",
    LIVE,
)
FIREWALL = must(
    "firewall",
    "Inbound firewall",
    "nftables table inet host_firewall drops all but ssh",
    "Run site.yml --tags host.",
    LIVE,
)
EXPECTED = {
    "sshd",
    "systemd",
    "systemd-network",
    "systemd-networkd",
    "systemd-resolved",
    "systemd-resolve",
    "chronyd",
    "dhclient",
}

_LISTENER = re.compile(
    r'^(?P<protocol>\S+)\s+\S+\s+\d+\s+\d+\s+(?P<local>\S+)\s+\S+\s*(?:users:\(\("(?P<program>[^"]+)")?'
)


def listeners(output: str) -> Iterator[tuple[str, str, str, str]]:
    """Protocol, address, port and program of each line of `ss --listening --no-header --processes`."""
    for line in output.splitlines():
        found = _LISTENER.match(line)
        if found is None:
            continue
        address, _, port = found["local"].rpartition(":")
        yield found["protocol"], address.strip("[]").partition("%")[0], port, found["program"] or "?"


def is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def check(host: Host) -> Iterator[Point]:
    try:
        output = host.run("ss", "--listening", "--no-header", "--tcp", "--udp", "--numeric", "--processes")
    except UnreadableError as error:
        yield PORTS.unknown(str(error))
    else:
        open_ports = [
            f"{protocol} {address}:{port} ({program})"
            for protocol, address, port, program in listeners(output)
            if not is_loopback(address) and program not in EXPECTED
        ]
        yield PORTS.of(open_ports, "only expected programs")
    try:
        rules = host.run("nft", "list", "table", "inet", "host_firewall")
    except UnreadableError as error:
        yield FIREWALL.failed(str(error))
    else:
        chain = re.search(r"hook input priority [^;]+; policy (\w+);", rules)
        policy = chain[1] if chain else "missing"
        yield FIREWALL.of([] if policy == "drop" else [f"policy of the input chain: {policy}"], "policy drop")
