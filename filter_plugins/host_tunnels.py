"""Tunnels from the controller to the hosts: a port of its own for each host, and Ansible's own connection to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def host_number(host: str, groups: Mapping[str, Sequence[str]], play_hosts: Sequence[str]) -> int:
    """The place of the host among all hosts with gateways, counted from 0: the same with --limit as without it, so that
    no host has the port of another one whose tunnel is open. Without the group, the hosts of the play count."""
    to_be = groups.get("hosts_to_be", [])
    return [name for name in groups.get("gateway_hosts", play_hosts) if name not in to_be].index(host)


def ssh_to_host(variables: Mapping[str, Any], socket: str) -> str:
    """The ssh command of Ansible's own connection to the host with these variables, with a control socket for a tunnel.

    The socket's name must hold %C, a hash of address, port and user.
    """
    words = ["ssh"]
    words += [str(variables.get(f"ansible_ssh_{kind}_args", "")) for kind in ("common", "extra")]
    if "ansible_port" in variables:
        words.append(f"-p {variables['ansible_port']}")
    if "ansible_user" in variables:
        words.append(f"-l {variables['ansible_user']}")
    if "ansible_ssh_private_key_file" in variables:
        words.append(f'-i "{Path(variables["ansible_ssh_private_key_file"]).expanduser()}"')
    words.append(f"-o BatchMode=yes -o 'ControlPath=\"{socket}\"'")
    words.append(str(variables.get("ansible_host", variables["inventory_hostname"])))
    return " ".join(word for word in words if word)


class FilterModule:
    """Filters of the tasks that open tunnels."""

    def filters(self) -> dict[str, Any]:
        return {"host_number": host_number, "ssh_to_host": ssh_to_host}
