"""Which field of a picture is one for a code, and what is in it: pictures drawn as Swing draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gateway_watch.code_field import Picture, Place, inspect

GREY, EDGE, WHITE, BLACK = (238, 238, 238), (122, 138, 153), (255, 255, 255), (51, 51, 51)
DIALOG = Place(301, 266, 257, 17)
SEGMENTS = {  # which of seven bars a digit has
    "0": "abcdef", "1": "bc", "2": "abdeg", "3": "abcdg", "4": "bcfg",
    "5": "acdfg", "6": "acdefg", "7": "abc", "8": "abcdefg", "9": "abcdfg",
}  # fmt: skip


def draw(fields: Sequence[tuple[Place, str]], caret: int | None = None) -> Picture:
    """A grey screen with fields; `caret` is the column of the caret in the first one."""
    image = Image.new("RGB", (640, 480), GREY)
    pen = ImageDraw.Draw(image)
    for place, text in fields:
        pen.rectangle((place.x - 1, place.y - 1, place.x + place.width, place.y + place.height), WHITE, EDGE)
        for number, character in enumerate(text):
            glyph(pen, place.x + 4 + 9 * number, place.y + 4, character)
    if caret is not None:
        first = fields[0][0]
        pen.line((first.x + caret, first.y + 1, first.x + caret, first.y + first.height - 2), BLACK)
    return np.asarray(image)


def glyph(pen: ImageDraw.ImageDraw, x: int, y: int, character: str) -> None:
    if character == "*":
        pen.ellipse((x, y + 2, x + 4, y + 6), BLACK)
        return
    bars = {
        "a": (0, 0, 5, 0), "b": (5, 0, 5, 4), "c": (5, 4, 5, 8), "d": (0, 8, 5, 8), "e": (0, 4, 0, 8),
        "f": (0, 0, 0, 4), "g": (0, 4, 5, 4),
    }  # fmt: skip
    for bar in SEGMENTS[character]:
        left, top, right, bottom = bars[bar]
        pen.line((x + left, y + top, x + right, y + bottom), BLACK)


def test_the_only_empty_field_is_that_of_the_code() -> None:
    sight = inspect(draw([(DIALOG, "")]), None, "")
    assert (sight.candidates, sight.place) == (1, DIALOG)


@pytest.mark.parametrize("caret", [0, 1, 3])
def test_the_caret_shows_that_the_field_has_the_focus(caret: int) -> None:
    sight = inspect(draw([(DIALOG, "")], caret), DIALOG, "")
    assert (sight.place, sight.caret, sight.empty) == (DIALOG, True, True)
    assert not inspect(draw([(DIALOG, "")]), DIALOG, "").caret


def test_the_fields_of_a_login_form_are_none_for_a_code() -> None:
    form = [(Place(100, 100, 140, 18), ""), (Place(100, 124, 140, 18), "")]
    assert inspect(draw(form), None, "").candidates == 0
    assert inspect(draw([*form, (DIALOG, "")]), None, "").place == DIALOG


def test_a_field_with_text_is_none_for_a_code() -> None:
    assert inspect(draw([(DIALOG, "12")]), None, "").candidates == 0
    assert inspect(draw([(DIALOG, "******")]), None, "").candidates == 0


def test_of_several_empty_fields_none_is_chosen() -> None:
    sight = inspect(draw([(DIALOG, ""), (Place(60, 400, 180, 18), "")]), None, "")
    assert (sight.candidates, sight.place) == (2, None)


def test_only_a_field_within_the_dialog_counts() -> None:
    picture = draw([(DIALOG, ""), (Place(60, 400, 180, 18), "")])
    assert inspect(picture, None, "", Place(290, 240, 300, 90)).place == DIALOG
    assert inspect(picture, None, "", Place(0, 0, 0, 0)).candidates == 0, "the dialog is not on the screen"


@pytest.mark.parametrize(
    "place", [Place(301, 266, 257, 9), Place(301, 266, 257, 60), Place(301, 266, 40, 17)], ids=["line", "area", "rest"]
)
def test_what_has_another_size_is_no_field_for_a_code(place: Place) -> None:
    assert inspect(draw([(place, "")]), None, "").candidates == 0


def test_the_field_holds_the_code() -> None:
    sight = inspect(draw([(DIALOG, "287082")], 60), DIALOG, "287082")
    assert (sight.glyphs, sight.holds_code, sight.caret) == (6, True, True)


@pytest.mark.parametrize("shown", ["28708", "2870822", "******", "222222", ""])
def test_what_cannot_be_the_code_is_not_taken_for_it(shown: str) -> None:
    assert not inspect(draw([(DIALOG, shown)]), DIALOG, "287082").holds_code
