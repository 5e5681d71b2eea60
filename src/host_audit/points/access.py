"""How people get onto the host."""

from __future__ import annotations

from collections.abc import Iterator

from host_audit.host import Host, UnreadableError
from host_audit.point import Point, must, should

SETTINGS = {
    "passwordauthentication": ("no",),
    "kbdinteractiveauthentication": ("no",),
    "permitrootlogin": ("no",),
    "permitemptypasswords": ("no",),
    "x11forwarding": ("no",),
    "allowagentforwarding": ("no",),
    "allowtcpforwarding": ("local", "no"),
}
SSHD = must("sshd", "ssh server", "keys only, no root, forwarding to loopback only", "Run site.yml --tags host.")
PASSWORDS = must(
    "passwords",
    "Accounts without password",
    "no account has an empty password",
    "Lock the account: passwd --lock NAME",
)
SUDO = should(
    "docker-group",
    "Group docker",
    "no user is in the group docker, which equals root without a password",
    "Remove the user: gpasswd --delete NAME docker",
)


def check(host: Host) -> Iterator[Point]:
    yield _sshd(host)
    try:
        shadow = host.read("/etc/shadow")
    except UnreadableError as error:
        yield PASSWORDS.unknown(str(error))
    else:
        empty = [
            line.partition(":")[0] for line in shadow.splitlines() if line.count(":") >= 2 and not line.split(":")[1]
        ]
        yield PASSWORDS.of(empty, "none")
    try:
        groups = host.read("/etc/group")
    except UnreadableError as error:
        yield SUDO.unknown(str(error))
    else:
        members = next((line.rpartition(":")[2] for line in groups.splitlines() if line.startswith("docker:")), "")
        yield SUDO.of([members] if members else [], "empty")


def _sshd(host: Host) -> Point:
    try:
        output = host.run("sshd", "-T")
    except UnreadableError as error:
        return SSHD.unknown(str(error))
    values = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    faults = [
        f"{name} is {values.get(name, 'unset')}"
        for name, allowed in SETTINGS.items()
        if values.get(name, "no") not in allowed
    ]
    return SSHD.of(faults, "as expected")
