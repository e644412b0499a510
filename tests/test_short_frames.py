"""Frames of short text messages: as the library `websockets` writes and reads them, and nothing else taken for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("websockets", reason="the extra 'server' is not installed: pip install 'tir-gym[server]'")

from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from tir_gym.short_frames import LONGEST, frame_end, only_payload, still_owed, text_frame

SIZES = st.sampled_from([0, 1, 124, 125, 126, 127, 300, LONGEST - 8, LONGEST - 4, LONGEST, LONGEST + 9])
PAYLOADS = st.binary(max_size=200) | st.builds(lambda size: b"x" * size, SIZES)
MASKS = st.binary(min_size=4, max_size=4)
FRAMES = st.builds(
    Frame, st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT]), PAYLOADS, st.booleans()
) | st.builds(Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))


def parsed(data: bytes, masked: bool) -> Frame:
    """The one frame that the library reads in it."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    steps = Frame.parse(reader.read_exact, mask=masked, max_size=None)
    with pytest.raises(StopIteration) as end:  # it would ask for more otherwise
        next(steps)
    frame: Frame = end.value.value
    return frame


@given(PAYLOADS, MASKS | st.just(b""))
def test_what_is_written_is_what_the_library_reads(payload: bytes, mask: bytes) -> None:
    data = text_frame(payload, mask)
    frame = parsed(data, bool(mask))
    assert (frame.opcode, frame.data, frame.fin) == (Opcode.TEXT, payload, True)
    found = only_payload(data, masked=bool(mask))
    assert found == (payload if len(data) <= LONGEST else None)
    assert only_payload(data, masked=not mask) is None


@given(FRAMES, st.booleans())
def test_only_a_whole_text_message_is_read(frame: Frame, masked: bool) -> None:
    data = frame.serialize(mask=masked)
    whole = frame.opcode is Opcode.TEXT and frame.fin and len(data) <= LONGEST
    assert only_payload(data, masked=masked) == (frame.data if whole else None)
    assert only_payload(data[:-1], masked=masked) is None
    assert only_payload(data + b"\x81", masked=masked) is None


@given(st.lists(FRAMES, min_size=1, max_size=4), st.booleans(), st.data())
def test_what_is_owed_after_any_part_of_a_stream(frames: list[Frame], masked: bool, data: st.DataObject) -> None:
    written = [frame.serialize(mask=masked) for frame in frames]
    stream = b"".join(written)
    ends = [sum(map(len, written[: n + 1])) for n in range(len(written))]
    cut = data.draw(st.integers(0, len(stream)) | st.sampled_from(ends))
    owed = still_owed(stream[:cut], 0, masked=masked)
    if owed is None:  # the head of a frame was cut
        begun = max([end for end in ends if end <= cut], default=0)
        assert 0 < cut - begun < 14
        assert frame_end(stream[begun:cut], 0, masked=masked) is None
    else:
        assert cut + owed in [0, *ends]
        assert still_owed(stream[cut:], owed, masked=masked) == 0


@pytest.mark.parametrize(
    "write", [lambda size: b"\x81\x7e" + size.to_bytes(2, "big"), lambda size: b"\x81\x7f" + size.to_bytes(8, "big")]
)
def test_lengths_in_more_bytes_than_they_need(write: Callable[[int], bytes]) -> None:
    data = write(5) + b"hello"
    assert only_payload(data, masked=False) in (b"hello", None)
    assert parsed(data, False).data == b"hello"
    assert still_owed(data, 0, masked=False) == 0
