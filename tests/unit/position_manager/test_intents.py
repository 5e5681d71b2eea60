"""How the broker's evidence changes an intent; and that nothing else can end one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from position_manager.orders.intents import (
    AT_BROKER,
    LEGAL,
    MEANINGS,
    OPEN,
    TERMINAL,
    Acknowledged,
    CancelSent,
    Dropped,
    Effect,
    Executed,
    Fill,
    IllegalTransitionError,
    Intent,
    OutOfSight,
    Proven,
    Released,
    Said,
    Sending,
    Side,
    State,
    apply,
    closing_side,
)

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
TEN = Decimal(10)
PLANNED = Intent("01X", "DU1", 42, Side.SELL, TEN, TEN, "stop", "g", NOW)


def intent(state: State, filled: int = 0) -> Intent:
    fills = (fill("before", filled),) if filled else ()
    return replace(PLANNED, state=state, order_id=7, client_id=100, sent=NOW, fills=fills)


def fill(exec_id: str, quantity: int) -> Fill:
    return Fill(exec_id, Decimal(quantity), Decimal("2.5"), NOW)


def test_the_side_that_closes() -> None:
    assert closing_side(Decimal(3)) is Side.SELL
    assert closing_side(Decimal(-3)) is Side.BUY


def test_sending_takes_what_was_read_just_before() -> None:
    sent = apply(PLANNED, Sending(7, 100, Decimal(8), Decimal(5), Decimal("2.4"), "group", NOW)).intent
    assert (sent.state, sent.position, sent.quantity, sent.ref) == (State.SENDING, Decimal(8), Decimal(5), "pm:01X")
    with pytest.raises(IllegalTransitionError, match=r"01X is SENDING, PLANNED is needed"):
        apply(sent, Sending(8, 100, TEN, TEN, TEN, "group", NOW))


def test_only_what_was_not_sent_can_be_dropped() -> None:
    assert apply(PLANNED, Dropped("restarted")).intent.state is State.CANCELLED
    with pytest.raises(IllegalTransitionError):
        apply(intent(State.SENDING), Dropped("restarted"))


@pytest.mark.parametrize(("filled", "state"), [(0, State.WORKING), (4, State.PARTIAL)])
def test_working_needs_the_brokers_acknowledgement(filled: int, state: State) -> None:
    change = apply(intent(State.SENDING, filled), Acknowledged(77))
    assert (change.intent.state, change.intent.perm_id) == (state, 77)


@pytest.mark.parametrize("state", sorted(set(State) - {State.SENDING, State.PLANNED}))
def test_a_late_acknowledgement_brings_nothing_back(state: State) -> None:
    assert apply(intent(state), Acknowledged(77)).intent.state is state


def test_fills_add_up_and_each_counts_once() -> None:
    now = intent(State.WORKING)
    for exec_id, quantity, filled, state in (
        ("a", 4, 4, State.PARTIAL),
        ("a", 4, 4, State.PARTIAL),
        ("b", 6, 10, State.FILLED),
    ):
        now = apply(now, Executed(fill(exec_id, quantity))).intent
        assert (int(now.filled), now.state) == (filled, state)
    assert now.expected_position == 0


def test_a_corrected_execution_replaces_the_one_before() -> None:
    now = apply(intent(State.WORKING), Executed(fill("0000e0d5.6570c1e7.01.01", 4))).intent
    now = apply(now, Executed(fill("0000e0d5.6570c1e7.01.02", 3))).intent
    assert now.filled == 3
    assert apply(now, Executed(fill("0000e0d5.6570c1e7.01.01", 4))).intent.filled == 3
    late = apply(intent(State.WORKING), Executed(fill("0000e0d5.6570c1e7.01.02", 3))).intent
    assert apply(late, Executed(fill("0000e0d5.6570c1e7.01.01", 4))).intent.filled == 3
    assert apply(now, Executed(fill("0000e0d5.6570c1e8.01.01", 2))).intent.filled == 5


@pytest.mark.parametrize("state", sorted(TERMINAL - {State.FILLED}))
def test_an_execution_after_the_end_counts_and_locks(state: State) -> None:
    change = apply(intent(state), Executed(fill("late", 4)))
    assert (change.intent.filled, change.intent.state) == (Decimal(4), state)
    assert set(change.effects) == {Effect.LOCK, Effect.PAGE}
    assert apply(intent(state), Executed(fill("late", 10))).intent.state is State.FILLED


def test_more_executed_than_ordered_locks() -> None:
    change = apply(intent(State.PARTIAL, 8), Executed(fill("more", 3)))
    assert change.intent.state is State.LOCKED
    assert Effect.PAGE in change.effects


@pytest.mark.parametrize("state", sorted(AT_BROKER))
@pytest.mark.parametrize("code", [202, 103, 104, 105, 110, 161, 10147, 10148, 99999])
def test_codes_that_sound_like_an_end_ask_the_broker(state: State, code: int) -> None:
    change = apply(intent(state), Said(code, "text"))
    assert (change.intent.state, change.effects) == (State.UNKNOWN, (Effect.ASK,))
    assert change.intent.reason == f"{code} text"


@pytest.mark.parametrize("state", sorted(State))
@pytest.mark.parametrize("code", [399, 10349])
def test_pysystemtrade_1580_an_order_that_seemed_cancelled_is_live(state: State, code: int) -> None:
    assert apply(intent(state), Said(code)).intent == intent(state)


def test_201_on_an_order_never_acknowledged_rejects_and_locks() -> None:
    change = apply(intent(State.SENDING), Said(201, "no margin"))
    assert (change.intent.state, change.intent.reason) == (State.REJECTED, "201 no margin")
    assert Effect.LOCK in change.effects  # never retried blindly


@pytest.mark.parametrize("now", [intent(State.SENDING, 4), intent(State.WORKING), intent(State.PARTIAL, 4)])
def test_201_on_an_order_that_may_have_traded_is_asked_about(now: Intent) -> None:
    change = apply(now, Said(201))
    assert change.intent.state is State.UNKNOWN
    assert change.intent.refused


@pytest.mark.parametrize("state", sorted(State))
def test_hummingbot_7295_an_ambiguous_outcome_is_not_a_failed_one(state: State) -> None:
    expected = State.UNKNOWN if state in AT_BROKER else state
    assert apply(intent(state), OutOfSight("1100")).intent.state is expected
    assert expected not in TERMINAL or state in TERMINAL


@pytest.mark.parametrize("state", sorted(State))
def test_what_can_be_cancelled(state: State) -> None:
    if state in (State.WORKING, State.PARTIAL, State.CANCELLING):
        assert apply(intent(state), CancelSent()).intent.state is State.CANCELLING
    else:
        with pytest.raises(IllegalTransitionError, match=f"is {state}"):
            apply(intent(state), CancelSent())


def test_proofs_end_it_and_an_end_stays() -> None:
    for state in TERMINAL:
        assert apply(intent(State.UNKNOWN), Proven(state, "why")).intent.state is state
        assert apply(intent(state), Proven(State.WORKING, "why")).intent.state is state
    proven = apply(intent(State.UNKNOWN), Proven(State.CANCELLED, "why", Decimal(4))).intent
    assert (proven.filled, proven.expected_position) == (Decimal(4), Decimal(6))
    assert apply(proven, Executed(fill("late", 4))).intent.filled == 4  # the same four


def test_not_found_is_no_proof_for_an_order_that_was_just_sent() -> None:
    with pytest.raises(IllegalTransitionError, match="SENDING, Proven would make it LOST"):
        apply(intent(State.SENDING), Proven(State.LOST, "not found"))


def test_a_lock_is_left_by_a_proven_end_or_a_person() -> None:
    locked = intent(State.LOCKED)
    assert apply(locked, Proven(State.WORKING, "seen")).intent.state is State.LOCKED
    assert apply(locked, Proven(State.CANCELLED, "seen")).intent.state is State.CANCELLED
    assert apply(locked, Released("me")).intent.state is State.LOST
    with pytest.raises(IllegalTransitionError):
        apply(intent(State.UNKNOWN), Released("me"))


def test_the_table_of_changes_is_whole() -> None:
    assert set(LEGAL) == set(State)
    assert all(not LEGAL[state] & OPEN for state in TERMINAL)  # nothing that is over blocks its instrument again
    assert State.LOST not in set().union(*(LEGAL[s] for s in AT_BROKER - {State.UNKNOWN}))
    assert 10349 in MEANINGS
