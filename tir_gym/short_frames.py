"""WebSocket's usual case: a text message that is one frame and arrives in one piece, read and written at once.

Server and clients of ours say little else, and for such a message the package `websockets`, which does all the rest,
takes as long as a step of a quick environment. RFC 6455, 5.2: two bytes, more of them where the payload is long, a
client's mask, the payload.
"""

from __future__ import annotations

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the one in C where that is built

LONGEST = 1 << 16
"""Bytes of a frame that is read here."""

_WHOLE_TEXT = 0x81
"""First byte of a text message's only frame."""
_MASKED = 0x80
"""Added to the second byte of a client's frame; the rest of it is a length of up to 125, or says where that stands."""
_MASK = 4
"""Bytes of a mask."""


def text_frame(payload: bytes, mask: bytes = b"") -> bytes:
    """A text message.

    Args:
        payload: Its text in UTF-8.
        mask: 4 random bytes for a client's message, none for a server's.
    """
    size, masked = len(payload), _MASKED if mask else 0
    if size < 126:
        head = bytes((_WHOLE_TEXT, masked | size))
    elif size < 1 << 16:
        head = bytes((_WHOLE_TEXT, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_WHOLE_TEXT, masked | 127)) + size.to_bytes(8, "big")
    return head + mask + apply_mask(payload, mask) if mask else head + payload


def only_payload(data: bytes, *, masked: bool) -> bytes | None:
    """The payload, where data that begins with a frame is one whole text message of at most `LONGEST` bytes.

    Args:
        data: What arrived.
        masked: Whether it is a client's.
    """
    if not data or data[0] != _WHOLE_TEXT or len(data) > LONGEST or frame_end(data, 0, masked=masked) != len(data):
        return None
    size = data[1] & ~_MASKED
    if size == 127:  # a length in 8 bytes, which a frame as short as this has no need of
        return None
    head = 2 if size < 126 else 4
    if not masked:
        return data[head:]
    return apply_mask(data[head + _MASK :], data[head : head + _MASK])


def still_owed(data: bytes, at: int, *, masked: bool) -> int | None:
    """Bytes that the last frame of data lacks; `None` if not even its head is whole.

    Args:
        data: What arrived.
        at: Where in it the first frame begins; beyond its end where that is the end of an earlier one.
        masked: Whether it is a client's.
    """
    while at < len(data):
        end = frame_end(data, at, masked=masked)
        if end is None:
            return None
        at = end
    return at - len(data)


def frame_end(data: bytes, at: int, *, masked: bool) -> int | None:
    """Where the frame ends that begins at that place; `None` if its head is not whole, or is not masked as it must."""
    if len(data) < at + 2:
        return None
    size, head = data[at + 1], at + 2
    if (size >= _MASKED) != masked:
        return None
    size &= ~_MASKED
    if size >= 126:
        length = 2 if size == 126 else 8
        if len(data) < head + length:
            return None
        size = int.from_bytes(data[head : head + length], "big")
        head += length
    return head + (_MASK if masked else 0) + size
