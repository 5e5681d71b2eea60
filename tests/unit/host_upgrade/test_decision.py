"""What each playbook does with the state of the last upgrade, and what prevents it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from host_upgrade import decision
from host_upgrade.decision import Disk, Facts, GatewayFacts, ImageFacts, ManagerFacts, Step
from host_upgrade.model import Deployment, Kind, Phase, State

OLD = Deployment("aaa", {"ib-gateway": "image:1"})
NEW = Deployment("bbb", {"ib-gateway": "image:2"})
OTHER = Deployment("ccc", {"ib-gateway": "image:3"})
AT = datetime(2026, 11, 28, 15, 30, tzinfo=UTC)
"""A Saturday."""


def state(phase: Phase, **changes: Any) -> State:
    return replace(State(phase, Kind.UPGRADE, OLD, NEW, AT, reason="No Java.\nMore."), **changes)


@pytest.mark.parametrize(
    ("known", "present", "wanted", "step"),
    [
        (None, OLD, NEW, Step.SWITCH),
        (None, OLD, OLD, Step.NOTHING),
        (None, OLD, replace(OLD, release="bbb"), Step.SWITCH),
        (state(Phase.VERIFIED), NEW, NEW, Step.NOTHING),
        (state(Phase.VERIFIED), NEW, OTHER, Step.SWITCH),
        # Only a verified upgrade is complete, whatever its files look like.
        (state(Phase.SWITCHING), NEW, NEW, Step.RESUME),
        (state(Phase.SWITCHING), OLD, NEW, Step.RESUME),
        (state(Phase.SWITCHING), NEW, OTHER, Step.RESUME),
        (state(Phase.SWITCHING), NEW, OLD, Step.GO_BACK),
        (state(Phase.ROLLING_BACK), NEW, NEW, Step.FINISH_ROLLBACK),
        (state(Phase.ROLLING_BACK), OLD, OTHER, Step.FINISH_ROLLBACK),
        (state(Phase.ROLLED_BACK), OLD, NEW, Step.SWITCH),
        (state(Phase.ROLLED_BACK), OLD, OLD, Step.NOTHING),
    ],
)
def test_what_an_upgrade_does(known: State | None, present: Deployment, wanted: Deployment, step: Step) -> None:
    assert decision.for_upgrade(known, present, wanted).step is step


def test_the_plan_of_an_upgrade_names_each_change_and_an_earlier_rollback() -> None:
    text = decision.for_upgrade(state(Phase.ROLLED_BACK), OLD, NEW).text
    assert "ib-gateway: image:1 -> image:2" in text
    assert "release: aaa -> bbb" in text
    assert "rolled back on 2026-11-28 15:30 UTC: No Java. More. It is tried once more" in text


@pytest.mark.parametrize(
    ("known", "present", "step"),
    [
        (None, OLD, Step.REFUSE),
        (state(Phase.VERIFIED), NEW, Step.GO_BACK),
        (state(Phase.VERIFIED), OLD, Step.NOTHING),
        # A later deploy has changed one of them.
        (state(Phase.VERIFIED), replace(NEW, release="ccc"), Step.REFUSE),
        (state(Phase.SWITCHING), OTHER, Step.GO_BACK),
        (state(Phase.ROLLING_BACK), OLD, Step.FINISH_ROLLBACK),
        (state(Phase.ROLLED_BACK), OLD, Step.NOTHING),
        (state(Phase.ROLLED_BACK, verified=False), OLD, Step.FINISH_ROLLBACK),
        (state(Phase.ROLLED_BACK), OTHER, Step.REFUSE),
    ],
)
def test_what_a_rollback_by_hand_does(known: State | None, present: Deployment, step: Step) -> None:
    assert decision.for_rollback(known, present).step is step


def test_a_refused_rollback_names_what_a_later_deploy_changed() -> None:
    refused = decision.for_rollback(state(Phase.VERIFIED), replace(NEW, release="ccc"))
    assert "(release: bbb -> ccc)" in refused.text
    # The settings name fewer gateways than the upgrade had.
    assert "(other gateways)" in decision.for_rollback(state(Phase.VERIFIED), Deployment("bbb", {})).text


BOTH = ("image", "release")


@pytest.mark.parametrize(
    ("known", "wanted", "parts", "step"),
    [
        (None, NEW, BOTH, Step.DEPLOY),
        (state(Phase.VERIFIED), OTHER, BOTH, Step.DEPLOY),
        (state(Phase.SWITCHING), NEW, BOTH, Step.DEPLOY),
        (state(Phase.ROLLING_BACK), OLD, BOTH, Step.FINISH_ROLLBACK),
        (state(Phase.ROLLED_BACK), NEW, BOTH, Step.REFUSE),
        (state(Phase.ROLLED_BACK), OLD, BOTH, Step.DEPLOY),
        (state(Phase.ROLLED_BACK), OTHER, BOTH, Step.DEPLOY),
        # One of both is enough, if this deploy touches it.
        (state(Phase.ROLLED_BACK), replace(OLD, release="bbb"), BOTH, Step.REFUSE),
        (state(Phase.ROLLED_BACK), replace(OLD, release="bbb"), ("image",), Step.DEPLOY),
        (state(Phase.ROLLED_BACK), replace(NEW, release="aaa"), ("image",), Step.REFUSE),
        (state(Phase.ROLLED_BACK), replace(NEW, release="aaa"), ("release",), Step.DEPLOY),
        # What did not change in the upgrade was not rejected.
        (state(Phase.ROLLED_BACK, after=replace(NEW, release="aaa")), OLD, BOTH, Step.DEPLOY),
        (state(Phase.ROLLED_BACK, after=replace(OLD, release="bbb")), replace(OLD, release="ccc"), BOTH, Step.DEPLOY),
    ],
)
def test_what_a_deploy_does(known: State | None, wanted: Deployment, parts: tuple[str, ...], step: Step) -> None:
    assert decision.for_deploy(known, wanted, parts).step is step


def test_a_refused_deploy_names_what_was_rolled_back_why_and_each_way_on() -> None:
    text = decision.for_deploy(state(Phase.ROLLED_BACK), NEW, BOTH).text
    for part in ("image image:2 of ib-gateway", "release bbb", "No Java. More.", "image:1", "upgrade.yml", "check out"):
        assert part in text
    assert "host_upgrade_rejected_allowed=true" in text


def test_an_image_alone_needs_no_other_version_of_the_repository() -> None:
    text = decision.for_deploy(state(Phase.ROLLED_BACK), replace(NEW, release="aaa"), BOTH).text
    assert "set ib_gateway_image to the old image." in text
    assert "check out" not in text


def test_a_deploy_of_what_was_rolled_back_can_be_allowed() -> None:
    assert decision.for_deploy(state(Phase.ROLLED_BACK), NEW, BOTH, rejected_allowed=True).step is Step.DEPLOY


def test_an_upgrade_that_continues_keeps_the_first_way_back() -> None:
    continued = decision.resumed(state(Phase.SWITCHING, interruptions=1), OTHER)
    assert (continued.before, continued.after, continued.interruptions) == (OLD, OTHER, 2)


GATEWAY = GatewayFacts("ib-gateway", "paper", {"paper": 4002})
GB = decision.GIGABYTE


def facts(**changes: Any) -> Facts:
    return replace(
        Facts(
            gateways=[GATEWAY],
            images=[ImageFacts("image:2", on_host=True)],
            managers=[],
            image_disk=Disk("/var/lib/docker", 1, 50 * GB),
            release_disk=Disk("/opt/ib-gateway-ansible", 1, 50 * GB),
            release_installed=True,
            used_image_bytes=GB,
        ),
        **changes,
    )


def problems(
    found: Facts,
    present: Deployment = OLD,
    wanted: GatewayFacts = GATEWAY,
    now: datetime = AT,
    in_trading_hours: bool = False,
) -> list[str]:
    return decision.upgrade_problems(found, present, NEW, [wanted], now, in_trading_hours=in_trading_hours)


def test_nothing_prevents_an_upgrade_with_everything_there() -> None:
    assert problems(facts()) == []


@pytest.mark.parametrize(
    ("found", "present", "wanted", "text"),
    [
        (facts(gateways=[GatewayFacts("ib-gateway")]), OLD, GATEWAY, "ib-gateway is not deployed on this host"),
        (facts(), Deployment("aaa", {"ib-gateway": ""}), GATEWAY, "The last deploy of ib-gateway did not end"),
        (facts(), Deployment("", OLD.images), GATEWAY, "No release of this project"),
        (facts(), OLD, GatewayFacts("ib-gateway", "paper", {"paper": 4012}), "paper port 4002, and your settings have"),
        (facts(missing=["position-manager"]), OLD, GATEWAY, "position-manager is not deployed on this host"),
        # A deploy stops it and removes its secrets, which no rollback returns.
        (facts(removed=["second"]), OLD, GATEWAY, "Your settings remove second from this host"),
        (
            facts(images=[ImageFacts("image:2", False, "/opt/image.tar", None)]),
            *(OLD, GATEWAY),
            "neither is its archive /opt/image.tar",
        ),
        (
            facts(images=[ImageFacts("image:2", False, refusal="manifest unknown")]),
            *(OLD, GATEWAY),
            "cannot be pulled: manifest unknown",
        ),
    ],
)
def test_what_prevents_an_upgrade(found: Facts, present: Deployment, wanted: GatewayFacts, text: str) -> None:
    (problem,) = problems(found, present, wanted)
    assert text in problem


PULLED = ImageFacts("image:2", on_host=False)
ARCHIVED = ImageFacts("image:2", False, "/opt/image.tar", 4 * GB)


@pytest.mark.parametrize(
    ("found", "enough"),
    [
        (facts(images=[PULLED], image_disk=Disk("/", 1, 2 * GB)), True),
        (facts(images=[PULLED], image_disk=Disk("/", 1, 2 * GB - 1)), False),
        (facts(images=[ARCHIVED], image_disk=Disk("/", 1, 4 * GB)), False),
        # On one file system both must fit, on two each by itself.
        (facts(images=[PULLED], image_disk=Disk("/", 1, 2 * GB), release_installed=False), False),
        (
            facts(
                images=[PULLED],
                image_disk=Disk("/", 1, 2 * GB),
                release_disk=Disk("/opt", 2, 2 * GB),
                release_installed=False,
            ),
            True,
        ),
        (
            facts(release_disk=Disk("/opt", 2, GB), release_installed=False),
            False,
        ),
        # Nothing is written.
        (facts(image_disk=Disk("/", 1, 0), release_disk=Disk("/", 1, 0)), True),
    ],
)
def test_there_must_be_space_for_the_new_state_beside_the_old_one(found: Facts, enough: bool) -> None:
    assert [problem for problem in problems(found) if "GB free" not in problem] == []
    assert (problems(found) == []) is enough


TUESDAY = datetime(2026, 12, 1, 14, 30, tzinfo=UTC)
"""The opening in New York."""


@pytest.mark.parametrize(
    ("manager", "now", "allowed"),
    [
        (ManagerFacts("position-manager", 1, ("AAPL",)), AT, False),
        (ManagerFacts("position-manager", 1, ()), TUESDAY, True),
        # A release that does not report its markets.
        (ManagerFacts("position-manager", 1, None), TUESDAY, False),
        (ManagerFacts("position-manager", 1, None), TUESDAY.replace(minute=29), True),
        (ManagerFacts("position-manager", 1, None), TUESDAY.replace(hour=21, minute=0), True),
        (ManagerFacts("position-manager", 1, None), TUESDAY.replace(hour=20, minute=59), False),
        (ManagerFacts("position-manager", 0, None), TUESDAY, True),
        (ManagerFacts("position-manager", 1, None), AT, True),
        # It runs and does not answer: what it holds is unknown.
        (ManagerFacts("position-manager", None, None), TUESDAY, False),
    ],
)
def test_no_upgrade_starts_while_the_session_of_a_held_position_is_open(
    manager: ManagerFacts, now: datetime, allowed: bool
) -> None:
    assert (problems(facts(managers=[manager]), now=now) == []) is allowed
    assert problems(facts(managers=[manager]), now=now, in_trading_hours=True) == []


def test_what_is_not_verified_before_is_named() -> None:
    assert decision.unverified({"ib-gateway": {"verified": True}, "position-manager": {"phase": "READY"}}) == []
    assert decision.unverified(
        {"ib-gateway": {"listening": True, "verified": None}, "other": {}, "position-manager": {"phase": "DOWN"}}
    ) == ["ib-gateway (verified)", "other (status unknown)", "position-manager (DOWN)"]


def test_a_rollback_needs_the_previous_image_and_release() -> None:
    assert decision.rollback_problems([ImageFacts("image:1", on_host=True)], "aaa", True) == []
    image, release = decision.rollback_problems([ImageFacts("image:1", on_host=False)], "aaa", False)
    assert "docker pull image:1" in image
    assert "previous release aaa" in release


LIVE = GatewayFacts("ib-gateway", "live", {"live": 4001})


@pytest.mark.parametrize(
    ("saved", "settings", "deployed", "text"),
    [
        (GATEWAY, GATEWAY, GATEWAY, ""),
        # Before the upgrade it was in live mode, and a later deploy has left that. And the other way around.
        (LIVE, GATEWAY, GATEWAY, "deployed as live on live port 4001"),
        (GATEWAY, LIVE, LIVE, "your settings have live on live port 4001"),
        (replace(LIVE, read_only=False), LIVE, replace(LIVE, read_only=True), "would allow orders again"),
        (replace(LIVE, read_only=True), LIVE, replace(LIVE, read_only=False), ""),
        (LIVE, LIVE, replace(LIVE, read_only=True), ""),
    ],
)
def test_a_rollback_returns_to_no_other_mode_and_to_no_orders(
    saved: GatewayFacts, settings: GatewayFacts, deployed: GatewayFacts, text: str
) -> None:
    found = decision.rollback_problems([], "aaa", True, [saved], [settings], [deployed])
    assert len(found) == bool(text)
    assert text in "".join(found)
