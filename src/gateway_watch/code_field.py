"""Finds the field for a code in a picture of the gateway's screen, and reads whether it holds one. Pure.

The image has no window manager, so a window has no title bar: which window is the dialog is known from the X server,
which one has the focus from the log, and here is only what a picture can show. A text field is a light rectangle with
a darker edge, one line of text high. One that belongs to a form, as the fields for the user name and the password do,
is none for a code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Picture: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]

LIGHT = 250
"""Each channel of a field's background is at least so bright."""
INK = 200
"""A channel of text or of the caret is darker."""
LEAST_HEIGHT, MOST_HEIGHT = 12, 48
LEAST_WIDTH = 60
"""Less of a field, because another window covers it, does not show six digits."""
FORM_DISTANCE = 120
"""Fields of a form are no further apart, one below the other."""
EDGE = 0.9
"""Share of the pixels along an edge that must be of the kind expected there."""
CARET_WIDTH = 2
CARET_SHARE = 0.7
"""A caret is so much of the field high; a digit is not."""


@dataclass(frozen=True)
class Place:
    """The inner rectangle of a field on the screen."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Sight:
    """What a picture shows: `candidates` empty fields for a code, `place` the only one, None if there is not exactly
    one. Of the field at the place that was given: `caret` (it has the focus), `empty`, `glyphs` (characters in
    it), `holds_code` (these can be the characters of the code)."""

    candidates: int
    place: Place | None
    caret: bool = False
    empty: bool = False
    glyphs: int = 0
    holds_code: bool = False


def inspect(picture: Picture, target: Place | None, code: str, within: Place | None = None) -> Sight:
    """Read a picture (height x width x RGB); `target` is the field that was chosen, `code` what was typed into it,
    `within` where the dialog is, if that is known."""
    light: Mask = np.asarray((picture >= LIGHT).all(axis=2))
    ink: Mask = np.asarray((picture < INK).any(axis=2))
    places = list(find_fields(light))
    empty = [
        place
        for place in places
        if place.width >= LEAST_WIDTH
        and _inside(place, within)
        and not _in_form(place, places)
        and not _read(ink, place).glyphs
    ]
    place = empty[0] if len(empty) == 1 else None
    shown = next((found for found in places if found == target), None)
    if shown is None:
        return Sight(len(empty), place)
    content = _read(ink, shown)
    return Sight(
        len(empty), place, content.caret, not content.glyphs, len(content.glyphs), _can_be(content.glyphs, code)
    )


def find_fields(light: Mask) -> Iterator[Place]:
    """Every text field, from the light pixels."""
    height, _ = light.shape
    for y in range(1, height):
        for left, right in _runs(light[y]):
            if light[y - 1, left:right].mean() > 1 - EDGE:
                continue
            if (bottom := _bottom(light, y, left, right)) is not None:
                yield Place(left, y, right - left, bottom - y)


def _runs(row: Mask) -> list[tuple[int, int]]:
    """Spans of light pixels that are long enough to be a field's, or what is visible of it."""
    changes = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
    spans = zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True)
    return [(left, right) for left, right in spans if right - left >= LEAST_HEIGHT]


def _bottom(light: Mask, top: int, left: int, right: int) -> int | None:
    """The row below a field whose first row is `top`; None if the light area there is no field."""
    end = min(top + MOST_HEIGHT + 1, light.shape[0])
    for y in range(top + 1, end):
        if light[y, left:right].mean() > 1 - EDGE:
            continue
        tall_enough = y - top >= LEAST_HEIGHT
        # The caret can reach into the last row.
        closed = light[y - 1, left:right].mean() >= EDGE
        # The caret of an empty field can be its first columns.
        first = light[top:y, left : left + CARET_WIDTH + 1].mean(axis=0).max()
        sides = first >= EDGE and light[top:y, right - 1].mean() >= EDGE
        return y if tall_enough and closed and sides else None
    return None


def _inside(place: Place, outer: Place | None) -> bool:
    return outer is None or (
        place.x >= outer.x
        and place.y >= outer.y
        and place.x + place.width <= outer.x + outer.width
        and place.y + place.height <= outer.y + outer.height
    )


def _in_form(place: Place, places: list[Place]) -> bool:
    """Whether a field of the same width is above or below."""
    return any(
        abs(other.x - place.x) <= 2
        and abs(other.width - place.width) <= 2
        and 0 < abs(other.y - place.y) <= FORM_DISTANCE
        for other in places
    )


@dataclass(frozen=True)
class _Content:
    caret: bool
    glyphs: tuple[Mask, ...]


def _read(ink: Mask, place: Place) -> _Content:
    """The characters in a field, as groups of columns with ink, and whether the caret is there."""
    inside = ink[place.y : place.y + place.height, place.x : place.x + place.width]
    columns = np.concatenate(([False], inside.any(axis=0), [False])).astype(np.int8)
    changes = np.flatnonzero(np.diff(columns))
    caret = False
    glyphs: list[Mask] = []
    for left, right in zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True):
        group = inside[:, left:right]
        if right - left <= CARET_WIDTH and group.all(axis=1).mean() >= CARET_SHARE:
            caret = True
            continue
        glyphs.append(group)
    return _Content(caret, tuple(glyphs))


def _can_be(glyphs: tuple[Mask, ...], code: str) -> bool:
    """Whether the glyphs can be these characters: as many of them, and different where the characters are.

    The dots of a password field are all the same.
    """
    if not code or len(glyphs) != len(code):
        return False
    return all(
        first == second or not _same(glyphs[i], glyphs[j])
        for i, first in enumerate(code)
        for j, second in enumerate(code[:i])
    )


def _same(first: Mask, second: Mask) -> bool:
    return first.shape == second.shape and bool((first == second).all())
