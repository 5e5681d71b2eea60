"""What is done about a dialog for a code, step by step on a clock of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway_watch.code_entry import (
    SEARCH_SECONDS,
    Action,
    Click,
    CodeEntry,
    Confirm,
    Dialog,
    End,
    Erase,
    Outcome,
    Store,
    Type,
    Wait,
    describe,
)
from gateway_watch.code_field import Place, Sight
from gateway_watch.code_ledger import Ledger
from gateway_watch.totp import step_at

NOW = datetime(2026, 11, 29, 18, 0, 3, tzinfo=UTC)
FIELD = Place(301, 266, 257, 17)
EMPTY = Sight(1, FIELD, caret=False, empty=True)
FOCUSED = Sight(1, FIELD, caret=True, empty=True)
FILLED = Sight(0, None, caret=True, empty=False, glyphs=6, holds_code=True)
OPEN = Dialog(open=True, focused=True)


class Course:
    """One dialog; each screenshot comes some seconds after the one before."""

    def __init__(self, ledger: Ledger | None = None, now: datetime = NOW, reset_at: datetime | None = None) -> None:
        self.now = now
        self.entry = CodeEntry(ledger or Ledger(), reset_at, now)

    def evaluate(self, sight: Sight, dialog: Dialog = OPEN, after: float = 0.3) -> Action:
        self.now += timedelta(seconds=after)
        return self.entry.next(sight, dialog, self.now)

    def focus(self) -> None:
        assert isinstance(self.evaluate(EMPTY), Wait)
        assert self.evaluate(EMPTY) == Click(FIELD)

    def type(self) -> None:
        self.focus()
        assert isinstance(self.evaluate(FOCUSED), Type)


def test_a_code_is_typed_once_it_is_certain_where_and_confirmed_once_it_shows() -> None:
    course = Course()
    course.focus()
    action = course.evaluate(FOCUSED)
    assert isinstance(action, Type)
    assert action.step == step_at(course.now)
    assert action.ledger.last_step == action.step, "recorded before it is typed"
    assert isinstance(course.evaluate(EMPTY), Wait)
    assert course.evaluate(FILLED) == Confirm()
    assert course.evaluate(Sight(0, None), Dialog(open=False, focused=False)) == End(Outcome.CLOSED)


def test_a_field_that_moves_is_not_clicked() -> None:
    course = Course()
    for x in range(5):
        assert isinstance(course.evaluate(Sight(1, Place(x, 10, 100, 17))), Wait)


@pytest.mark.parametrize(
    ("sight", "dialog"),
    [
        (EMPTY, OPEN),
        (FOCUSED, Dialog(open=True, focused=False)),
        (Sight(2, None, caret=True, empty=True), OPEN),
        (Sight(0, None), OPEN),
    ],
    ids=["no_caret", "log_says_no", "second_field", "field_gone"],
)
def test_nothing_is_typed_while_anything_is_uncertain(sight: Sight, dialog: Dialog) -> None:
    course = Course()
    course.focus()
    for _ in range(12):
        assert not isinstance(course.evaluate(sight, dialog), Type)


def test_a_log_that_does_not_show_the_focus_leaves_it_to_the_caret() -> None:
    course = Course()
    course.focus()
    assert isinstance(course.evaluate(FOCUSED, Dialog(open=True, focused=None)), Type)


def test_a_code_with_less_than_five_seconds_left_is_not_typed() -> None:
    course = Course(now=NOW.replace(second=25))
    course.focus()
    while isinstance(action := course.evaluate(FOCUSED, after=0.5), Wait):
        assert course.now.second >= 25
    assert isinstance(action, Type)
    assert course.now.second in (30, 31)


def test_the_code_of_a_former_supervisor_is_not_typed_again() -> None:
    course = Course(Ledger(step_at(NOW)))
    course.focus()
    while isinstance(action := course.evaluate(FOCUSED, after=1), Wait):
        pass
    assert isinstance(action, Type)
    assert action.step == step_at(NOW) + 1


def test_after_two_codes_the_dialog_is_left() -> None:
    course = Course()
    for _ in range(2):
        course.type()
        assert course.evaluate(FILLED) == Confirm()
        while isinstance(action := course.evaluate(EMPTY, after=1), Wait):
            pass
        assert isinstance(action, Store)
        course.now += timedelta(seconds=30)
    assert course.evaluate(EMPTY) == End(Outcome.NOT_ACCEPTED)
    assert all(typed.refused for typed in course.entry.ledger.typed)


def test_a_dialog_that_stays_open_with_the_code_in_it_has_not_accepted_it() -> None:
    course = Course()
    course.type()
    assert course.evaluate(FILLED) == Confirm()
    assert isinstance(course.evaluate(FILLED, after=19), Wait)
    assert isinstance(course.evaluate(FILLED, after=2), Store)


def test_what_does_not_show_as_the_code_is_removed_and_not_confirmed() -> None:
    course = Course()
    course.type()
    wrong = Sight(0, None, caret=True, empty=False, glyphs=4)
    actions = [course.evaluate(wrong) for _ in range(12)]
    assert Erase() in actions
    assert Confirm() not in actions


def test_keys_that_went_elsewhere_are_not_confirmed_and_the_next_code_is_tried() -> None:
    course = Course()
    course.type()
    lost = Dialog(open=True, focused=False)
    actions = [course.evaluate(Sight(0, None), lost) for _ in range(12)]
    assert {type(action) for action in actions} == {Wait, Store}
    course.now += timedelta(seconds=30)
    course.type()
    assert course.evaluate(FILLED) == Confirm()


def test_a_part_of_a_code_is_removed_once_the_field_has_the_focus_again() -> None:
    course = Course()
    course.type()
    part = Sight(0, None, caret=False, empty=False, glyphs=3)
    actions = [course.evaluate(part, Dialog(open=True, focused=False)) for _ in range(25)]
    assert Click(FIELD) in actions
    assert not any(isinstance(action, Erase | Confirm | Type) for action in actions)
    course.now += timedelta(seconds=3)
    assert course.evaluate(Sight(0, None, caret=True, empty=False, glyphs=3)) == Erase()


def test_a_part_of_a_code_that_cannot_be_removed_is_left() -> None:
    course = Course()
    course.type()
    part = Sight(0, None, caret=False, empty=False, glyphs=3)
    assert course.evaluate(part, Dialog(open=True, focused=False), after=SEARCH_SECONDS) == End(Outcome.NOT_SHOWN)


def test_the_fault_is_named_after_a_time_without_a_usable_field() -> None:
    course = Course()
    assert isinstance(course.evaluate(Sight(0, None)), Wait)
    assert course.evaluate(Sight(0, None), after=SEARCH_SECONDS) == End(Outcome.NO_FIELD)
    course = Course()
    assert isinstance(course.evaluate(Sight(2, None)), Wait)
    assert course.evaluate(Sight(2, None), after=SEARCH_SECONDS) == End(Outcome.SEVERAL_FIELDS)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.CLOSED])
def test_every_outcome_states_what_to_do(outcome: Outcome) -> None:
    text = describe(outcome, "main")
    assert text.endswith("approve-now --instance main for a new try.")
    assert not text.startswith(outcome.value)
