"""What a playbook does on a host with the state of its last upgrade, and what prevents it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from .model import Deployment, Phase, State, Tiers, headline

GIGABYTE = 1_000_000_000
RESERVE_BYTES = GIGABYTE // 2
"""Free space that must remain."""
RELEASE_BYTES = GIGABYTE
"""Of a release: its packages, and their archives while it is installed."""
UNKNOWN_IMAGE_BYTES = 2 * GIGABYTE
READY = "READY"
"""The phase of a manager that guards its positions."""
NEW_YORK = ZoneInfo("America/New_York")


class Step(StrEnum):
    """``switch`` and ``resume`` install the wanted deployment and verify it; ``go_back`` and ``finish_rollback``
    restore the previous one and verify that; ``deploy`` continues a deploy; ``refuse`` changes nothing and fails."""

    NOTHING = "nothing"
    SWITCH = "switch"
    RESUME = "resume"
    GO_BACK = "go_back"
    FINISH_ROLLBACK = "finish_rollback"
    DEPLOY = "deploy"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Decision:
    """What to do, and one text for the operator."""

    step: Step
    text: str


@dataclass(frozen=True)
class GatewayFacts:
    """A gateway on the host; ``mode`` and ``ports`` as deployed, None if it is not deployed. ``cost``: what its restart
    costs a person, empty if nothing. ``read_only``: whether its API accepts no orders, None if not known."""

    name: str
    mode: str | None = None
    ports: Mapping[str, int] | None = None
    cost: str = ""
    read_only: bool | None = None


@dataclass(frozen=True)
class ImageFacts:
    """Whether an image is on the host, or where it can be had from: ``archive_bytes`` is None without an archive,
    ``refusal`` why the registry does not have it, empty if it does or could not be asked."""

    name: str
    on_host: bool
    archive: str = ""
    archive_bytes: int | None = None
    refusal: str = ""


@dataclass(frozen=True)
class ManagerFacts:
    """A running position manager: how much it holds, None if it does not answer, and in which of that the regular
    session is open now; None from a release that does not report it."""

    name: str
    holds: int | None
    open_markets: tuple[str, ...] | None


@dataclass(frozen=True)
class Disk:
    """A file system that an upgrade writes to. ``id`` distinguishes file systems."""

    path: str
    id: int
    free: int


@dataclass(frozen=True)
class Facts:
    """Everything about the host that may prevent an upgrade. ``used_image_bytes``: the largest image in use;
    ``missing``: managers of the settings that are not deployed; ``removed``: units that a deploy removes."""

    gateways: Sequence[GatewayFacts]
    images: Sequence[ImageFacts]
    managers: Sequence[ManagerFacts]
    image_disk: Disk
    release_disk: Disk
    release_installed: bool
    used_image_bytes: int
    missing: Sequence[str] = ()
    removed: Sequence[str] = ()


def for_upgrade(state: State | None, present: Deployment, wanted: Deployment) -> Decision:
    """upgrade.yml."""
    if state is not None and state.phase is Phase.ROLLING_BACK:
        return Decision(Step.FINISH_ROLLBACK, f"{_interrupted_rollback(state)} It is completed now.")
    if state is not None and state.phase is Phase.SWITCHING:
        if wanted == state.before:
            return Decision(Step.GO_BACK, f"{_interrupted_upgrade(state)} The previous state is restored.")
        return Decision(Step.RESUME, _with_changes(f"{_interrupted_upgrade(state)} It is continued:", state, wanted))
    changes = present.changes_to(wanted)
    if not changes:
        return Decision(Step.NOTHING, "Nothing to upgrade: the host has the wanted image and release already.")
    lines = ["The upgrade changes:", *(f"  {line}" for line in changes)]
    if state is not None and rejected(state, wanted):
        lines.append(f"This was rolled back on {_date(state.started)}: {headline(state.reason)} It is tried once more.")
    return Decision(Step.SWITCH, "\n".join(lines))


def for_rollback(state: State | None, present: Deployment) -> Decision:
    """rollback.yml."""
    if state is None:
        return Decision(
            Step.REFUSE,
            "No upgrade is recorded on this host, so there is nothing to go back to. Set ib_gateway_image to the image "
            "you want, and run upgrade.yml.",
        )
    if state.phase is Phase.ROLLING_BACK:
        return Decision(Step.FINISH_ROLLBACK, f"{_interrupted_rollback(state)} It is completed now.")
    if state.phase is Phase.SWITCHING:
        return Decision(Step.GO_BACK, f"{_interrupted_upgrade(state)} The previous state is restored.")
    if present == state.before:
        if state.phase is Phase.ROLLED_BACK and not state.verified:
            return Decision(
                Step.FINISH_ROLLBACK,
                "The last rollback was not verified: what it restored is restarted, and verified again.",
            )
        return Decision(
            Step.NOTHING,
            f"Nothing to roll back: the host runs what it had before the upgrade of {_date(state.started)}.",
        )
    if present != state.after:
        changed = "; ".join(state.after.changes_to(present)) or "other gateways"
        return Decision(
            Step.REFUSE,
            f"The host does not run what the upgrade of {_date(state.started)} installed, because a later deploy "
            f"changed it ({changed}): its previous state does not belong to what "
            "runs now. Set ib_gateway_image to the image you want, and run upgrade.yml.",
        )
    lines = [f"The rollback of the upgrade of {_date(state.started)} changes:"]
    lines += [f"  {line}" for line in present.changes_to(state.before)]
    return Decision(Step.GO_BACK, "\n".join(lines))


def for_deploy(
    state: State | None, wanted: Deployment, parts: Collection[str], *, rejected_allowed: bool = False
) -> Decision:
    """site.yml; ``parts`` are those of ``image`` and ``release`` that it deploys."""
    if state is None or state.phase is Phase.VERIFIED:
        return Decision(Step.DEPLOY, "")
    if state.phase is Phase.ROLLING_BACK and rejected_allowed:
        # The only way on if the previous state cannot be restored any more.
        return Decision(
            Step.DEPLOY, f"{_interrupted_rollback(state)} Your settings are deployed instead of completing it."
        )
    if state.phase is Phase.ROLLING_BACK:
        return Decision(Step.FINISH_ROLLBACK, f"{_interrupted_rollback(state)} It is completed now.")
    if state.phase is Phase.SWITCHING:
        return Decision(
            Step.DEPLOY,
            f"{_interrupted_upgrade(state)} A deploy of everything, without --tags, ends it with your settings.",
        )
    refused = [part for part in rejected(state, wanted) if part.partition(" ")[0] in parts]
    if not refused or rejected_allowed:
        return Decision(Step.DEPLOY, "")
    old = "; ".join(f"{name}: {image}" for name, image in state.before.images.items())
    remain = [
        *(["set ib_gateway_image to the old image"] if any(part.startswith("image") for part in refused) else []),
        *(
            ["check out the old version of this repository"]
            if any(part.startswith("release") for part in refused)
            else []
        ),
    ]
    return Decision(
        Step.REFUSE,
        f"Your settings still name what was rolled back on {_date(state.started)} ({'; '.join(refused)}), because: "
        f"{headline(state.reason)}\n"
        f"This host runs the state before it again ({old}; release {state.before.release}). Nothing was changed.\n"
        f"To stay with that, {' and '.join(remain)}. To try once more, with a rollback if it fails: ansible-playbook "
        "upgrade.yml. To deploy it without one: -e host_upgrade_rejected_allowed=true.",
    )


def rejected(state: State, wanted: Deployment) -> list[str]:
    """The parts of ``wanted`` that the last upgrade brought and a rollback took away again."""
    if state.phase is not Phase.ROLLED_BACK:
        return []
    parts = [
        f"image {image} of {name}"
        for name, image in wanted.images.items()
        if image == state.after.images.get(name) and image != state.before.images.get(name)
    ]
    if wanted.release == state.after.release != state.before.release:
        parts.append(f"release {wanted.release}")
    return parts


UNFINISHED_RESTORE = (
    "The restore of a backup was interrupted on this host, so that only a part of its state is restored. Nothing must "
    "run with that. Complete it first: sudo /opt/ib-gateway-ansible/current/bin/host-backup repair, or run restore.yml "
    "again."
)
"""What prevents both an upgrade and a rollback."""


def upgrade_problems(
    facts: Facts,
    present: Deployment,
    wanted: Deployment,
    settings: Sequence[GatewayFacts],
    now: datetime,
    *,
    in_trading_hours: bool,
) -> list[str]:
    """Why an upgrade must not start; ``settings`` are the gateways as the inventory has them."""
    problems = [*_gateway_problems(facts, present, settings), *_image_problems(facts.images)]
    if (short := _disk_problem(facts, present, wanted)) is not None:
        problems.append(short)
    if not in_trading_hours:
        problems += _session_problems(facts.managers, now)
    return problems


def unverified(tiers: Tiers) -> list[str]:
    """What is not verified before an upgrade, so that a rollback could not be verified either."""
    found = []
    for name, reached in tiers.items():
        if "phase" in reached:
            missing = [] if reached["phase"] == READY else [str(reached["phase"])]
        else:
            missing = [str(tier) for tier, ok in reached.items() if ok is not True] if reached else ["status unknown"]
        if missing:
            found.append(f"{name} ({', '.join(missing)})")
    return found


def rollback_problems(
    images: Sequence[ImageFacts],
    release: str,
    release_complete: bool,
    saved: Sequence[GatewayFacts] = (),
    settings: Sequence[GatewayFacts] = (),
    deployed: Sequence[GatewayFacts] = (),
) -> list[str]:
    """Why a rollback cannot start; ``images`` are those of the previous state, ``saved`` its gateways. ``settings`` are
    the gateways as the inventory has them, ``deployed`` as they are since a verified upgrade."""
    problems = [
        f"The previous image {image.name} is not on the host any more. Pull or load it there first: docker pull "
        f"{image.name}"
        for image in images
        if not image.on_host
    ]
    if not release_complete:
        problems.append(
            f"The previous release {release} is not on the host any more. Check out the version of this repository "
            "that you want, and run site.yml -e host_upgrade_rejected_allowed=true."
        )
    return [*problems, *_saved_problems(saved, settings, deployed)]


def _saved_problems(
    saved: Sequence[GatewayFacts], settings: Sequence[GatewayFacts], deployed: Sequence[GatewayFacts]
) -> list[str]:
    problems = []
    wanted = {gateway.name: gateway for gateway in settings}
    protected = {gateway.name for gateway in deployed if gateway.read_only}
    for old in saved:
        other = wanted.get(old.name)
        if other is not None and (old.mode, old.ports) != (other.mode, other.ports):
            # With other secrets it would log in where nobody expects it, and could not be verified.
            problems.append(
                f"Before the upgrade {old.name} was deployed as {old.mode} on {_ports(old)}, and your settings have "
                f"{other.mode} on {_ports(other)}. A rollback would return to the old ones. Keep your settings, set "
                "ib_gateway_image to the image you want, and run upgrade.yml; or restore the old settings first."
            )
        if old.name in protected and old.read_only is False:
            problems.append(
                f"The API of {old.name} accepts no orders now (read only), and did before the upgrade. A rollback "
                "would allow orders again. Keep your settings, set ib_gateway_image to the image you want, and run "
                "upgrade.yml."
            )
    return problems


def _gateway_problems(facts: Facts, present: Deployment, settings: Sequence[GatewayFacts]) -> list[str]:
    problems = []
    deployed = {gateway.name: gateway for gateway in facts.gateways if gateway.mode is not None}
    for wanted in settings:
        found = deployed.get(wanted.name)
        if found is None:
            problems.append(f"{wanted.name} is not deployed on this host. Run site.yml first.")
        elif not present.images.get(wanted.name):
            problems.append(f"The last deploy of {wanted.name} did not end. Run site.yml first.")
        elif (found.mode, found.ports) != (wanted.mode, wanted.ports):
            problems.append(
                f"{wanted.name} is deployed as {found.mode} on {_ports(found)}, and your settings have {wanted.mode} "
                f"on {_ports(wanted)}. An upgrade changes only the image and the release. Run site.yml "
                "first, with the old image."
            )
    problems += [f"{name} is not deployed on this host. Run site.yml first." for name in facts.missing]
    problems += [
        f"Your settings remove {name} from this host, which a rollback could not undo. Run site.yml first, with the "
        "old image and the old version of this repository."
        for name in facts.removed
    ]
    if not present.release:
        problems.append("No release of this project is installed on this host. Run site.yml first.")
    return problems


def _ports(gateway: GatewayFacts) -> str:
    return ", ".join(f"{mode} port {port}" for mode, port in (gateway.ports or {}).items()) or "no port"


def _image_problems(images: Sequence[ImageFacts]) -> list[str]:
    problems = []
    for image in images:
        if image.on_host:
            continue
        if image.archive and image.archive_bytes is None:
            problems.append(
                f"The image {image.name} is not on the host, and neither is its archive {image.archive}. Copy the "
                "archive there, or correct ib_gateway_image or ib_gateway_image_archive."
            )
        elif not image.archive and image.refusal:
            problems.append(
                f"The image {image.name} is not on the host and cannot be pulled: {image.refusal}. Correct "
                "ib_gateway_image, or load an archive (ib_gateway_image_archive)."
            )
    return problems


def _disk_problem(facts: Facts, present: Deployment, wanted: Deployment) -> str | None:
    # A pulled image is on the disk compressed and unpacked for a while, and its size is not known before.
    pulled = (facts.used_image_bytes or UNKNOWN_IMAGE_BYTES) * 3 // 2
    images = sum(
        pulled if image.archive_bytes is None else image.archive_bytes for image in facts.images if not image.on_host
    )
    release = 0 if wanted.release == present.release or facts.release_installed else RELEASE_BYTES
    if not images and not release:
        return None
    if facts.image_disk.id == facts.release_disk.id:
        needs = [(facts.image_disk, images + release)]
    else:
        needs = [(facts.image_disk, images), (facts.release_disk, release)]
    for disk, needed in needs:
        if needed and disk.free < needed + RESERVE_BYTES:
            return (
                f"{disk.path} has {disk.free / GIGABYTE:.1f} GB free, and the new state beside the old one needs "
                f"{(needed + RESERVE_BYTES) / GIGABYTE:.1f} GB. Free space (docker image prune), or enlarge the volume."
            )
    return None


def _session_problems(managers: Sequence[ManagerFacts], now: datetime) -> list[str]:
    problems = []
    for manager in managers:
        if manager.holds is None:
            problems.append(
                f"{manager.name} runs and does not answer, so it is unknown what it holds. Correct that first "
                "(status.yml), or upgrade with -e host_upgrade_in_trading_hours=true."
            )
            continue
        if manager.open_markets is None:
            held = (
                [f"the regular session of New York ({manager.holds} held)"]
                if manager.holds and _is_session(now)
                else []
            )
        else:
            held = list(manager.open_markets)
        if held:
            problems.append(
                f"{manager.name} guards positions whose regular session is open: {', '.join(held)}. While the gateway "
                "restarts, no stop can fire. Upgrade outside of it, or with -e host_upgrade_in_trading_hours=true."
            )
    return problems


def _is_session(now: datetime) -> bool:
    """Whether stocks trade in New York, holidays apart."""
    local = now.astimezone(NEW_YORK)
    opened = local.replace(hour=9, minute=30, second=0, microsecond=0)
    return local.weekday() < 5 and opened <= local < opened + timedelta(hours=6, minutes=30)


def _interrupted_upgrade(state: State) -> str:
    return f"The upgrade of {_date(state.started)} ({_changes(state)}) was interrupted."


def _interrupted_rollback(state: State) -> str:
    return (
        f"The rollback of the upgrade of {_date(state.started)} ({_changes(state)}) was interrupted; it was rolled "
        f"back because: {headline(state.reason)}"
    )


def _changes(state: State) -> str:
    return "; ".join(state.before.changes_to(state.after))


def _with_changes(text: str, state: State, wanted: Deployment) -> str:
    return "\n".join([text, *(f"  {line}" for line in state.before.changes_to(wanted))])


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def resumed(state: State, wanted: Deployment) -> State:
    """An interrupted upgrade that continues, to another target if that changed; the way back remains the same."""
    return replace(state, phase=Phase.SWITCHING, after=wanted, interruptions=state.interruptions + 1)
