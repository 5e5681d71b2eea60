"""What cannot be true at once in a configuration, although each key is right. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ib_connection.accounts import AccountKind, kind_of, masked
from position_manager.config.errors import Key, key_text
from position_manager.config.rule_contradictions import within
from position_manager.config.schema import Config, Mode
from position_manager.config.sim import Sim
from position_manager.model import Kind
from position_manager.orders.disaster_settings import DisasterStop
from position_manager.rules.rule_set import RuleSet, Stop, Target
from position_manager.rules.selectors import Group, PositionRules


def contradictions(config: Config) -> Iterator[tuple[Key, str]]:
    """What cannot be true at once, as key and text."""
    yield from _accounts(config)
    yield from _simulated(config)
    for key, rules in config.rule_sets():
        side = rules.match.side if isinstance(rules, PositionRules) else None
        yield from _stop_and_target(key, rules, side)
        yield from within(key, rules, side, _short_options_possible(rules))
        yield from _disaster(key, rules, config.disaster_stop)
    for name, group in config.groups.items():
        if group.close == "combo" and not 2 <= len(group.legs) <= 4:
            yield ("groups", name, "close"), f"combo needs 2 to 4 legs; there are {len(group.legs)}"
        elif group.close == "combo" and any(leg.kind in (Kind.STOCK, Kind.FUTURE) for leg in group.legs):
            yield ("groups", name, "close"), "combo is for groups of options only"
        if group.close == "legs" and "combo_seconds" in group.model_fields_set:
            yield ("groups", name, "combo_seconds"), "goes with close: combo"
    short_leg = any(leg.ratio < 0 for group in config.groups.values() for leg in group.legs)
    if config.disaster_stop is not None and config.disaster_stop.short_legs_percent is not None and not short_leg:
        yield ("disaster_stop", "short_legs_percent"), "is for groups with short legs, and there is none"
    yield from _duplicates(config)


def _short_options_possible(rules: RuleSet) -> bool:
    """Whether a unit of this level can hold a short option, as far as the level itself states what it applies to."""
    if isinstance(rules, Group):
        return any(leg.ratio < 0 and leg.kind not in (Kind.STOCK, Kind.FUTURE) for leg in rules.legs)
    if isinstance(rules, PositionRules):
        return rules.match.side != "long" and rules.match.kind not in (Kind.STOCK, Kind.FUTURE)
    return True


def _accounts(config: Config) -> Iterator[tuple[Key, str]]:
    if config.mode is Mode.LIVE:
        if not config.live_confirmed:
            yield ("live_confirmed",), "must be true for mode live: it sends orders with real money"
        if not config.expected_accounts:
            yield ("expected_accounts",), "must name the accounts for mode live"
    elif config.live_confirmed:
        yield ("live_confirmed",), f"goes with mode live only; the mode is {config.mode.value}"
    kind = {Mode.LIVE: AccountKind.LIVE, Mode.PAPER: AccountKind.PAPER}.get(config.mode)
    for section in ("accounts", "expected_accounts"):
        listed: tuple[str, ...] = getattr(config, section)
        for index, account in enumerate(listed):
            if kind is not None and kind_of(account) is not kind:
                yield (section, index), f"{masked(account)} is no {kind.value} account, but the mode is {kind.value}"
            if account in listed[:index]:
                yield (section, index), f"{masked(account)} is listed twice"
    for index, account in enumerate(config.accounts):
        if config.expected_accounts and account not in config.expected_accounts:
            yield ("accounts", index), f"{masked(account)} is not among expected_accounts"


def _simulated(config: Config) -> Iterator[tuple[Key, str]]:
    if config.mode is not Mode.SIM:
        if config.sim is not None:
            yield ("sim",), f"goes with mode sim only; the mode is {config.mode.value}"
        return
    sim = config.sim or Sim()
    yield from ((("sim", *key), text) for key, text in sim.faults())
    for section in ("accounts", "expected_accounts"):
        listed: tuple[str, ...] = getattr(config, section)
        if listed and sim.account not in listed:
            yield (section,), f"has no {masked(sim.account)}, the account of mode sim (sim.account)"


def _stop_and_target(key: Key, rules: RuleSet, side: str | None) -> Iterator[tuple[Key, str]]:
    """Within one level, as far as this is known without the position; the rest is reported when rules are evaluated."""
    stop, target = rules.stop, rules.target
    if not isinstance(stop, Stop):
        return
    if side == "long" and stop.percent_of_premium is not None and stop.percent_of_premium > 100:
        yield (*key, "stop"), "percent_of_premium must be at most 100 for a long position: it cannot lose more"
    if not isinstance(target, Target):
        return
    if stop.price is not None and target.price is not None:
        wrong = {"long": stop.price >= target.price, "short": stop.price <= target.price}
        if stop.price == target.price:
            yield (*key, "stop", "price"), f"is the target's price too ({target.price})"
        elif side is not None and wrong[side]:
            relation = "below" if side == "long" else "above"
            yield (
                (*key, "stop", "price"),
                f"must be {relation} the target's price ({target.price}) for a {side} position; it is {stop.price}",
            )
    if stop.underlying_price is not None and target.underlying_price is not None:
        lose, win = stop.underlying_price, target.underlying_price
        both = [
            name for name in ("below", "above") if getattr(lose, name) is not None and getattr(win, name) is not None
        ]
        if both:
            yield (*key, "target", "underlying_price"), f"has {both[0]}, as the stop has: only one of them can have it"
        elif (lose.below is not None and win.above is not None and lose.below >= win.above) or (
            lose.above is not None and win.below is not None and lose.above <= win.below
        ):
            yield (*key, "stop", "underlying_price"), "overlaps the target's: some price would be a stop and a target"


def _disaster(key: Key, rules: RuleSet, disaster: DisasterStop | None) -> Iterator[tuple[Key, str]]:
    stop = rules.stop.percent_of_premium if isinstance(rules.stop, Stop) else None
    if disaster is not None and stop is not None and stop >= disaster.percent_of_premium:
        yield (
            (*key, "stop", "percent_of_premium"),
            f"must be less than that of disaster_stop ({disaster.percent_of_premium}); it is {stop}",
        )


def _duplicates(config: Config) -> Iterator[tuple[Key, str]]:
    matches: dict[str, int] = {}
    for index, entry in enumerate(config.positions):
        first = matches.setdefault(repr(entry.match), index)
        if first != index:
            yield ("positions", index, "match"), f"is the same as in {key_text(('positions', first))}"
    legs: dict[str, str] = {}
    for name, group in config.groups.items():
        for index, leg in enumerate(group.legs):
            place = key_text(("groups", name, "legs", index))
            first_place = legs.setdefault(repr(leg.contract), place)
            if first_place != place:
                yield ("groups", name, "legs", index), f"is the same contract as {first_place}"
