"""The framing, byte for byte."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_simulator.api.wire import (
    MAX_FRAME_LENGTH,
    FrameReader,
    OldHandshakeError,
    VersionOffer,
    WireError,
    decode_fields,
    encode_frame,
    parse_version_offer,
)


def read_all(reader: FrameReader) -> list[bytes]:
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append(frame)
    return frames


def test_a_frame_is_its_length_and_its_terminated_fields() -> None:
    assert encode_frame([71, 2, 9000, ""]) == b"\x00\x00\x00\x0b71\x002\x009000\x00\x00"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "1"),
        (False, "0"),
        (-1, "-1"),
        (Decimal("1E+5"), "100000"),
        (Decimal("0.00000001"), "0.00000001"),
        ("Zürich", "Zürich"),
    ],
)
def test_values_are_written_as_the_gateway_writes_them(value: object, text: str) -> None:
    assert decode_fields(encode_frame([value])[4:]) == [text]  # type: ignore[list-item]


def test_a_nul_inside_a_field_is_refused_because_it_would_shift_the_rest() -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode_frame(["a\0b"])


@given(
    frames=st.lists(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1)),
    cuts=st.lists(st.integers(min_value=1, max_value=50)),
)
def test_frames_come_out_as_they_went_in_however_the_bytes_arrive(frames: list[list[str]], cuts: list[int]) -> None:
    stream = b"API\0" + b"".join(encode_frame(fields) for fields in frames)
    reader = FrameReader()
    received = []
    for cut in [*cuts, len(stream)]:
        reader.feed(stream[:cut])
        stream = stream[cut:]
        received += read_all(reader)
    assert [decode_fields(payload) for payload in received] == frames
    assert reader.buffered == 0


@pytest.mark.parametrize("start", [b"GET ", b"\x16\x03\x01\x02", b"AP\0", b"62x\0", b"2026"])
def test_a_wrong_preface_is_refused(start: bytes) -> None:
    reader = FrameReader()
    reader.feed(start)
    with pytest.raises(WireError, match="a client starts with") as caught:
        reader.next_frame()
    assert caught.value.code == 508


def test_the_opening_before_version_100_is_recognised_when_it_is_complete() -> None:
    reader = FrameReader()
    reader.feed(b"6")
    assert reader.next_frame() is None
    reader.feed(b"2")
    assert reader.next_frame() is None
    reader.feed(b"\0")
    with pytest.raises(OldHandshakeError) as caught:
        reader.next_frame()
    assert caught.value.client_version == 62


def test_a_preface_may_arrive_in_parts() -> None:
    reader = FrameReader()
    for byte in b"API\0":
        assert reader.next_frame() is None
        reader.feed(bytes([byte]))
    reader.feed(encode_frame(["x"]))
    assert reader.next_frame() == b"x\0"


@pytest.mark.parametrize("length", [0, MAX_FRAME_LENGTH + 1, 0xFFFFFFFF])
def test_a_length_out_of_bounds_is_refused_from_the_header_alone(length: int) -> None:
    reader = FrameReader()
    reader.feed(b"API\0" + length.to_bytes(4, "big"))
    with pytest.raises(WireError, match=f"Bad Message Length {length} ") as caught:
        reader.next_frame()
    assert caught.value.code == 507


def test_a_frame_of_the_longest_length_is_read() -> None:
    reader = FrameReader()
    reader.feed(b"API\0" + encode_frame(["x" * (MAX_FRAME_LENGTH - 1)]))
    frame = reader.next_frame()
    assert frame is not None
    assert len(frame) == MAX_FRAME_LENGTH


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (b"v157..176", VersionOffer(157, 176)),
        (b"v176", VersionOffer(176, 176)),
        (b"v100..193 +PACEAPI", VersionOffer(100, 193, "+PACEAPI")),
    ],
)
def test_version_offers(offer: bytes, expected: VersionOffer) -> None:
    assert parse_version_offer(offer) == expected


@pytest.mark.parametrize(
    "offer", [b"", b"157..176", b"v178..157", b"v157..", b"v\xd9\xa1", b"v1..2\0", b"v157..999999999"]
)
def test_what_is_no_version_offer_is_refused(offer: bytes) -> None:
    with pytest.raises(WireError):
        parse_version_offer(offer)


@pytest.mark.parametrize("payload", [b"71\x002", b"\xff\xfe\x00"])
def test_fields_must_be_terminated_text(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode_fields(payload)
