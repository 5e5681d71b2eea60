"""What is wrong with the settings of the ib_gateway role, found before the first change to a host.

Each problem names the variable, the value (never a secret one), and the remedy.
"""

from __future__ import annotations

import re
import sys
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parents[3] / "src"
TWELVE_HOURS = re.compile(r"(0[1-9]|1[0-2]):[0-5][0-9] (AM|PM)")
TWENTY_FOUR_HOURS = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
INSTANCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
NOTIFY_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#]\S*")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOVING_TAGS = {"latest", "stable", "edge", "main"}
# Printed in public: the older deployments' default, and the sample of the image's own documentation.
PUBLIC_VNC_PASSWORDS = ("ibgateway", "myVncPassword")
VNC_LENGTH = 8  # x11vnc compares no more than this
NATIVE_TARGETS = {"4001": ("4003", "live"), "4002": ("4004", "paper")}
MINUTE, DAY = 60, 24 * 60 * 60
HEAP_OVERHEAD_MB = 512  # metaspace, threads, X server, VNC and relays beside the Java heap
CHOICES = {
    "trading_mode": ("paper", "live", "both"),
    "twofa_timeout_action": ("restart", "exit"),
    "existing_session_action": ("primary", "primaryoverride", "secondary", "manual"),
}
QUIET_HOURS = re.compile(rf"({TWENTY_FOUR_HOURS.pattern})-({TWENTY_FOUR_HOURS.pattern})")
VERIFICATION_IDS = 3  # the handshake tries ib_gateway_client_id and, if it is in use, the two after it
WHOLE_NUMBERS = ("link_restart_minutes", "twofa_pushes_per_hour", "yield_minutes", "watch_client_id")
POSITIVE_NUMBERS = (
    "link_lost_minutes",
    "twofa_exit_interval",
    "twofa_seconds",
    "max_bad_logins",
    "unanswering_minutes",
    "java_heap_mb",
    "memory_mb",
    "pids_limit",
    "nofile",
    "health_interval",
    "health_start_period",
    "health_retries",
    "start_timeout",
)


def _variable(instance: Mapping[str, Any], setting: str) -> str:
    return f"ib_gateway_{setting} (instance {instance['name']})"


def _credentials(instance: Mapping[str, Any]) -> Iterator[str]:
    needed = ["userid", "password"]
    if instance["trading_mode"] == "both":
        needed += ["userid_paper", "password_paper"]
    for setting in needed:
        value = str(instance[setting])
        variable = _variable(instance, setting)
        if not value.strip() or value == "CHANGEME":
            yield f"{variable} is not set. Set it in the encrypted vault of the inventory."
        elif "\n" in value or "\r" in value:
            yield f"{variable} contains a line break. Store it as one line, without a trailing newline."
        elif value != value.strip():
            yield (
                f"{variable} has a blank at its start or end, which the login controller removes: the login would "
                "fail. Remove it, or change it at IBKR."
            )
        elif not value.isascii() or not value.isprintable():
            yield (
                f"{variable} has a character outside printable ASCII, such as an umlaut or a tab. The image passes it "
                "on in a Java properties file, which is read as Latin-1, so the login would use another text. "
                "Change it at IBKR."
            )


def _vnc(instance: Mapping[str, Any]) -> Iterator[str]:
    variable = _variable(instance, "vnc_password")
    password = str(instance["vnc_password"])
    if not password.strip():
        yield f"{variable} is not set. Choose one of 6 to {VNC_LENGTH} characters and store it in the vault."
    elif password[:VNC_LENGTH] in {known[:VNC_LENGTH] for known in PUBLIC_VNC_PASSWORDS}:
        yield f"{variable} is a published default. Choose another one of 6 to {VNC_LENGTH} characters."
    elif len(password) > VNC_LENGTH:
        yield (
            f"{variable} has {len(password)} characters, and VNC compares only the first {VNC_LENGTH}. "
            f"Shorten it to at most {VNC_LENGTH}, so that what you type is what protects the screen."
        )
    elif len(password) < 6:
        yield f"{variable} has {len(password)} characters. Use 6 to {VNC_LENGTH}."
    elif not password.isascii() or not password.isprintable():
        yield f"{variable} has characters that VNC cannot type. Use printable ASCII."


def _use_sources() -> None:
    """Let what runs on the host be imported: what it refuses there is found here."""
    if str(SOURCES) not in sys.path:
        sys.path.insert(0, str(SOURCES))


def _totp(instance: Mapping[str, Any]) -> Iterator[str]:
    if not instance["totp"]:
        return
    _use_sources()
    from gateway_watch.totp import SecretError, parse_secret

    try:
        parse_secret(str(instance["totp_secret"]))
    except SecretError as error:
        yield f"{_variable(instance, 'totp_secret')} (it is secret, and not shown) {error}"


def _clock_problem(instances: Sequence[Mapping[str, Any]], tracking: Sequence[str]) -> str | None:
    """Why the host's clock would give wrong codes; None if it would not, or if chrony is not there yet."""
    names = [instance["name"] for instance in instances if instance["totp"]]
    if not names or not tracking:
        return None
    _use_sources()
    from gateway_watch.clock_error import LIMIT_SECONDS, parse_tracking

    error = parse_tracking(tracking[-1])
    if not error.too_large:
        return None
    return (
        f"The host's clock is wrong by {error.seconds:.1f} s, by chrony's own measurement, and the codes of "
        f"ib_gateway_totp_secret (instance {', '.join(names)}) need it right to {LIMIT_SECONDS:g} s. "
        "Set it with: sudo chronyc makestep"
    )


def address_fault(url: str) -> str | None:
    """Why the host could not use an address, found by the code that uses it there; None if it could."""
    _use_sources()
    from notifications.delivery import usable_targets

    _, faults = usable_targets([url])
    return faults[0].partition(" for notifications ")[2] if faults else None


def _notify_urls(instance: Mapping[str, Any]) -> Iterator[str]:
    variable = _variable(instance, "notify_urls")
    urls = instance["notify_urls"]
    if not isinstance(urls, list):
        yield f"{variable} is no list. Write one address a line, each after a hyphen."
        return
    for number, url in enumerate(urls, start=1):
        if not isinstance(url, str) or not NOTIFY_URL.fullmatch(url):
            yield (
                f"Entry {number} of {variable} is no address that Apprise knows (it is secret, and not shown). "
                "Write for example discord://WEBHOOK_ID/WEBHOOK_TOKEN, without spaces."
            )
        elif fault := address_fault(url):
            yield f"Entry {number} of {variable} (it is secret, and not shown) {fault}"


def _mode(instance: Mapping[str, Any]) -> Iterator[str]:
    choices = {**CHOICES, "login_controller": ("auto", *instance["known_controllers"])}
    for setting, allowed in choices.items():
        if instance[setting] not in allowed:
            yield f"{_variable(instance, setting)} is {instance[setting]!r}. Use one of: {', '.join(allowed)}."
    if instance["trading_mode"] in ("live", "both") and instance["live_confirmed"] is not True:
        yield (
            f"{_variable(instance, 'trading_mode')} is {instance['trading_mode']!r}, which can trade real money, and "
            f"ib_gateway_live_confirmed is {instance['live_confirmed']!r}. "
            "Set ib_gateway_live_confirmed: true to confirm it."
        )


def _times(instance: Mapping[str, Any]) -> Iterator[str]:
    if not TWELVE_HOURS.fullmatch(str(instance["auto_restart_time"])):
        yield (
            f"{_variable(instance, 'auto_restart_time')} is {instance['auto_restart_time']!r}. "
            'Write it in 12 hours as "HH:MM AM" or "HH:MM PM", for example "02:00 AM".'
        )
    if not TWENTY_FOUR_HOURS.fullmatch(str(instance["cold_restart_time"])):
        yield (
            f"{_variable(instance, 'cold_restart_time')} is {instance['cold_restart_time']!r}. "
            'Write it in 24 hours as "HH:MM" in quotes, for example "13:00"; it applies on Sundays.'
        )
    if instance["timezone"] not in zoneinfo.available_timezones():
        yield (
            f"{_variable(instance, 'timezone')} is {instance['timezone']!r}, which is no time zone. "
            "Use a name like America/New_York."
        )


def _image(instance: Mapping[str, Any]) -> Iterator[str]:
    image = str(instance["image"])
    variable = _variable(instance, "image")
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if digest:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            yield f"{variable} is {image!r}: the digest is not sha256 with 64 hexadecimal digits."
    elif not tag or tag in MOVING_TAGS:
        yield (
            f"{variable} is {image!r}, which names no exact version. "
            "Pin one, for example ghcr.io/gnzsnz/ib-gateway:10.50.1f, better with @sha256:<digest>."
        )


def _support(instance: Mapping[str, Any], today: date | None) -> Any:
    """Until when IB lets the version of the image log in; None if that is not near."""
    if str(SOURCES) not in sys.path:
        sys.path.insert(0, str(SOURCES))
    from gateway_watch import gateway_versions

    return gateway_versions.support(str(instance["image"]), today or datetime.now(UTC).date())


def _ended(instance: Mapping[str, Any], today: date | None) -> Iterator[str]:
    support = _support(instance, today)
    if support is not None and support.over and not instance["desupported_image_allowed"]:
        yield (
            f"{_variable(instance, 'image')} is {instance['image']!r}. {support.text}. {support.remedy} "
            "To deploy it all the same: ib_gateway_desupported_image_allowed: true."
        )


def warnings(instances: Sequence[Mapping[str, Any]], today: date | None = None) -> list[str]:
    """What is no problem yet, but will be one: a version of the gateway that IB is about to end."""
    found = []
    for instance in instances:
        support = _support(instance, today)
        if support is not None and (not support.over or instance["desupported_image_allowed"]):
            found.append(f"{instance['name']}: {support.text}. {support.remedy}")
    return found


def _numbers(instance: Mapping[str, Any]) -> Iterator[str]:
    for setting in POSITIVE_NUMBERS:
        value = instance[setting]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            yield f"{_variable(instance, setting)} is {value!r}. Use a whole number above 0."
    for setting in WHOLE_NUMBERS:
        value = instance[setting]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            yield f"{_variable(instance, setting)} is {value!r}. Use a whole number of at least 0."


def _quiet_hours(instance: Mapping[str, Any]) -> Iterator[str]:
    for setting in ("twofa_quiet_hours", "reminder_quiet_hours"):
        value = instance[setting]
        found = QUIET_HOURS.fullmatch(str(value))
        if value != "" and (found is None or value.partition("-")[0] == value.partition("-")[2]):
            yield (
                f"{_variable(instance, setting)} is {value!r}. "
                'Write it in 24 hours as "HH:MM-HH:MM", for example "23:00-07:00", or "" for none.'
            )


def _watch_client_id(instance: Mapping[str, Any]) -> Iterator[str]:
    own, first = instance["watch_client_id"], instance["client_id"]
    if isinstance(own, int) and isinstance(first, int) and first <= own < first + VERIFICATION_IDS:
        yield (
            f"{_variable(instance, 'watch_client_id')} is {own}, which the verification uses: it connects with "
            f"ib_gateway_client_id ({first}) and the two after it. Choose another number, for example 9100."
        )


def _resources(instance: Mapping[str, Any]) -> Iterator[str]:
    heap, memory = instance["java_heap_mb"], instance["memory_mb"]
    if isinstance(heap, int) and isinstance(memory, int) and memory < heap + HEAP_OVERHEAD_MB:
        yield (
            f"{_variable(instance, 'memory_mb')} is {memory}, and a Java heap of {heap} MB needs at least "
            f"{heap + HEAP_OVERHEAD_MB} MB in the container. Raise memory_mb or lower ib_gateway_java_heap_mb."
        )


def _owned(controller: Mapping[str, Any]) -> dict[str, str]:
    """The controller's variables that the role sets, and what to change instead."""
    owned = {}
    for name, template in {**controller["variables"], **controller["both"], **controller["read_only_root"]}.items():
        fields = re.findall(r"\{(\w+)\}", template)
        owned[name] = f"Set ib_gateway_{fields[0]} instead" if fields else "The role sets it; leave it out"
    # Counted from two settings.
    owned = {name: text.replace("ib_gateway_twofa_wait", "ib_gateway_twofa_seconds") for name, text in owned.items()}
    return owned | {name: f"Set ib_gateway_{setting} instead" for name, setting in controller["secrets"].items()}


def _controller(instance: Mapping[str, Any]) -> Iterator[str]:
    """What the instance's login controller cannot do; nothing while it is not detected."""
    controller = instance["controller"]
    if controller is None:
        return
    name = controller["name"]
    for setting, rule in controller["refused_settings"].items():
        if instance[setting] != rule["value"]:
            yield (
                f"{_variable(instance, setting)} is {instance[setting]!r}, and the login controller {name} does not "
                f"support it. {rule['instead']}"
            )
    for rule in controller["unless_default"].values():
        setting, value = rule["setting"], rule["value"]
        if instance["read_only_root"] and instance[setting] != value:
            yield (
                f"{_variable(instance, setting)} is {instance[setting]}: the image edits a file in place to change it, "
                f"which a read-only root forbids. Use {value}, or set ib_gateway_read_only_root: false."
            )
    if controller["passwords"] == "plain":
        for setting in ("password", "password_paper"):
            password = str(instance.get(setting, ""))
            if password != password.strip():
                yield (
                    f"{_variable(instance, setting)} starts or ends with a blank, which the login controller {name} "
                    "removes. Change the password at IBKR."
                )
    variable = _variable(instance, "extra_environment")
    foreign: set[str] = set().union(*(_owned(other) for other in instance["known_controllers"].values()))
    foreign -= set(_owned(controller))
    for entry, value in instance["extra_environment"].items():
        if entry in controller["refused_variables"]:
            yield f"{variable} sets {entry}. {name}: {controller['refused_variables'][entry]}"
        elif entry in foreign:
            yield f"{variable} sets {entry}, which the login controller {name} does not read. Remove it."
        elif str(value) == "" and controller["empty_variables"] == "refused":
            yield f"{variable} sets {entry} to nothing, which is not the same as not setting it. Remove it."


def environment_fault(value: object) -> str | None:
    """Why a value is not what a person wrote for a variable of the container; None if it is.

    YAML has already read it: yes has become a boolean, 15:30 the number 930, and nothing is null.
    """
    if isinstance(value, bool):
        words = 'yes" or "true' if value else 'no" or "false'
        return f'the boolean {str(value).lower()}. The image compares text: write "{words}" in quotes.'
    if value is None:
        return 'no value. Write "" for an empty variable, or remove the line.'
    if isinstance(value, int) and MINUTE <= value < DAY:
        hours, rest = divmod(value, 60)
        time = f'"{hours}:{rest:02}"' if hours < 24 else f'"{hours // 60}:{hours % 60:02}:{rest:02}"'
        return f'the number {value}, which is also what YAML reads for {time}. Write {time} or "{value}" in quotes.'
    if not isinstance(value, str | int):
        return f"a value of type {type(value).__name__}. Write it as text in quotes."
    if "\n" in str(value) or "\r" in str(value):
        return "a line break. An environment file holds one line a variable."
    return None


def _extra_environment(instance: Mapping[str, Any]) -> Iterator[str]:
    variable = _variable(instance, "extra_environment")
    controllers = [instance["controller"]] if instance["controller"] else [*instance["known_controllers"].values()]
    owned: dict[str, str] = {}
    for controller in controllers:
        owned |= _owned(controller)
    for name, value in instance["extra_environment"].items():
        if not ENVIRONMENT_NAME.fullmatch(str(name)):
            yield f"{variable} has the name {name!r}. Use letters, digits and underscores."
        elif name in owned:
            yield f"{variable} sets {name}. {owned[name]}: one value, in one place."
        elif fault := environment_fault(value):
            yield f"{variable} has in {name} {fault}"


def _extra_ports(instance: Mapping[str, Any]) -> Iterator[str]:
    variable = _variable(instance, "extra_ports")
    for mapping in instance["extra_ports"]:
        parts = str(mapping).split(":")
        if len(parts) != 3 or not all(part.isdigit() for part in parts[1:]):
            yield f"{variable} has {mapping!r}. Write 127.0.0.1:HOST_PORT:CONTAINER_PORT."
            continue
        if parts[2] in NATIVE_TARGETS:
            relay, mode = NATIVE_TARGETS[parts[2]]
            yield (
                f"{variable} has {mapping!r}, which publishes the gateway's native port {parts[2]}: it answers only "
                f"127.0.0.1 inside the container, so every client would connect and then receive nothing. "
                f"Publish the relay port {relay} instead; ib_gateway_api_port_{mode} does it for you."
            )
        if parts[0] != "127.0.0.1":
            yield (
                f"{variable} has {mapping!r}, which listens on {parts[0]}. Nothing may listen beyond 127.0.0.1: "
                "use that address and an ssh tunnel."
            )


def published_ports(instance: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(setting, host port) for each port that the instance publishes."""
    ports = [(f"api_port_{api['mode']}", api["port"]) for api in instance["apis"]]
    ports.append(("vnc_port", instance["vnc_port"]))
    for mapping in instance["extra_ports"]:
        parts = str(mapping).split(":")
        if len(parts) == 3 and parts[1].isdigit():
            ports.append(("extra_ports", int(parts[1])))
    return ports


def own_ports(instance: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(setting, host port) for each port that the instance publishes or its supervisor listens on."""
    metrics = [("metrics_port", instance["metrics_port"])] if instance["metrics_port"] != 0 else []
    return [*published_ports(instance), *metrics]


def _ports(instances: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    taken: dict[int, str] = {}
    for instance in instances:
        twice = False
        for setting, port in own_ports(instance):
            variable = _variable(instance, setting)
            if isinstance(port, bool) or not isinstance(port, int) or not 1024 <= port <= 65535:
                other = ", auto, or 0 for none" if setting == "metrics_port" else ""
                yield f"{variable} is {port!r}. Use a port from 1024 to 65535{other}."
            elif port in taken:
                # The port of the metrics follows from that of the API, so only the latter has to be changed.
                if not (twice and setting == "metrics_port" and taken[port].startswith("ib_gateway_metrics_port ")):
                    yield f"{variable} is {port}, which {taken[port]} uses too. Give each its own port."
                twice = True
            else:
                taken[port] = variable


def _removed(instances: Sequence[Mapping[str, Any]], removed: Sequence[str]) -> Iterator[str]:
    names = {instance["name"] for instance in instances}
    for name in removed:
        if name in names:
            yield f"ib_gateway_removed_instances names {name}, as ib_gateway_instances does. Leave it in one of them."
        elif not INSTANCE_NAME.fullmatch(str(name)):
            yield f"ib_gateway_removed_instances has {name!r}, which can be no instance's name."


def problems(
    instances: Sequence[Mapping[str, Any]], removed: Sequence[str] = (), today: date | None = None
) -> list[str]:
    """Return all problems of the resolved settings; needs no host. Empty when a deploy may start."""
    found: list[str] = []
    for instance in instances:
        if not INSTANCE_NAME.fullmatch(instance["name"]):
            found.append(
                f"ib_gateway_instances has the name {instance['name']!r}. It names a unit and a container: "
                "use lower-case letters, digits and hyphens."
            )
        for check in (
            _mode,
            _credentials,
            _vnc,
            _notify_urls,
            _totp,
            _times,
            _image,
            _numbers,
            _quiet_hours,
            _watch_client_id,
            _resources,
            _extra_environment,
            _controller,
            _extra_ports,
        ):
            found.extend(check(instance))
        found.extend(_ended(instance, today))
    found.extend(_ports(instances))
    found.extend(_removed(instances, removed))
    return found


def controller_problems(instances: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the login controllers of the resolved instances cannot do; known once the images are on the host."""
    found: list[str] = []
    for instance in instances:
        found.extend(_controller(instance))
        found.extend(_extra_environment(instance))
    return found


def _listeners(sockets: Sequence[str]) -> dict[int, str]:
    """Port to local address, from lines of `ss -Hltn`."""
    listeners = {}
    for line in sockets:
        fields = line.split()
        if len(fields) >= 4 and fields[3].rpartition(":")[2].isdigit():
            listeners[int(fields[3].rpartition(":")[2])] = fields[3]
    return listeners


def _publishers(containers: Sequence[str]) -> dict[int, str]:
    """Host port to container name, from lines of `docker ps --format '{{.Names}} {{.Ports}}'`."""
    publishers = {}
    for line in containers:
        name, _, ports = line.partition(" ")
        for port in re.findall(r":(\d+)->", ports):
            publishers[int(port)] = name
    return publishers


def host_problems(instances: Sequence[Mapping[str, Any]], lines: Sequence[str]) -> list[str]:
    """What the host cannot provide: ports that others use, memory.

    `lines` is the output of the role's inspection of the host, each line marked with its source:
    `memory <kB>`, `socket <line of ss -Hltn>`, `container <name> <ports>`, `clock <line of chronyc -c tracking>`,
    `metrics <port of a deployed instance>`.
    """
    marked: dict[str, list[str]] = {"memory": [], "socket": [], "container": [], "clock": [], "metrics": []}
    for line in lines:
        mark, _, rest = line.partition(" ")
        marked.setdefault(mark, []).append(rest)
    listeners, publishers = _listeners(marked["socket"]), _publishers(marked["container"])
    for line in marked["metrics"]:
        if line.isdecimal():
            # The supervisor of an instance listens there, and ends before the new one starts.
            listeners.pop(int(line), None)
    found = []
    for instance in instances:
        for setting, port in own_ports(instance):
            variable = _variable(instance, setting)
            owner = publishers.get(port)
            if owner is not None and owner != instance["name"]:
                found.append(
                    f"{variable} is {port}, which the container {owner} publishes on this host. "
                    f"Stop it (docker stop {owner}) or choose another port."
                )
            elif owner is None and port in listeners:
                found.append(
                    f"{variable} is {port}, and another program listens on {listeners[port]}. "
                    f"See which with: sudo ss -ltnp 'sport = :{port}'; stop it or choose another port."
                )
    needed = sum(instance["memory_mb"] for instance in instances)
    total = int(marked["memory"][0]) // 1024 if marked["memory"] else 0
    if total < needed:
        found.append(
            f"The host has {total} MB of memory, and its instances may use {needed} MB (ib_gateway_memory_mb). "
            "Use a larger host or fewer instances."
        )
    if problem := _clock_problem(instances, marked["clock"]):
        found.append(problem)
    return found


class FilterModule:
    """Preflight filters of the ib_gateway role."""

    def filters(self) -> dict[str, Any]:
        return {
            "ib_gateway_problems": problems,
            "ib_gateway_warnings": warnings,
            "ib_gateway_controller_problems": controller_problems,
            "ib_gateway_host_problems": host_problems,
        }
