"""How a zygote's memory lies, so that its forks are cheap in time and memory. Nothing else depends on it.

A fork copies the tables of all pages, and then each page that one of the two writes to; Python writes to every object
that it uses. CPython puts objects of 16, 32, ... 512 bytes into pools of one size each, and pools into arenas, which it
takes from the kernel wherever there is room.
"""

from __future__ import annotations

import sys
from collections import Counter

from . import kernel

POOL, POOL_HEAD = 16384, 48
"""Bytes of a pool, and of them those that describe it."""
ARENA = 1 << 20
LARGE_PAGE = 2 << 20
ROOM = 11 << 20
"""Bytes: what an interpreter with numpy takes beyond its start."""
GAPS = 1 << 18
"""Bytes of gaps, of each size, that are filled at most."""


def make_room() -> list[bytes]:
    """Objects that hold arenas side by side, so that what is imported next lies in one stretch."""
    return _objects(512, ROOM)[:: ARENA // 1024]


def fill_gaps() -> list[bytes]:
    """Objects in all that is free between others, so that what forks allocate lies side by side, in few pages.

    A pool that holds nothing but what was made here was no gap; it is given back, and so is the last one, which may
    not be full yet.
    """
    kept: list[bytes] = []
    for size in range(48, 513, 16):
        made = _objects(size, GAPS)
        pools = Counter(id(one) // POOL for one in made)
        del pools[id(made[-1]) // POOL]
        kept += [one for one in made if 0 < pools[id(one) // POOL] < (POOL - POOL_HEAD) // size]
    return kept


def large_pages() -> None:
    """Put this process's own memory into large pages, as far as it fills any: a fork copies one entry for each."""
    with open("/proc/self/maps") as file:
        regions = [line.split() for line in file]
    for region in regions:
        if region[1] != "rw-p" or region[5:] not in ([], ["[heap]"]):
            continue
        first, last = (int(address, 16) for address in region[0].split("-"))
        for begin in range(-(-first // LARGE_PAGE) * LARGE_PAGE, last - LARGE_PAGE + 1, LARGE_PAGE):
            kernel.collapse(begin, LARGE_PAGE)


def _objects(size: int, total: int) -> list[bytes]:
    """So many bytes in objects of that size."""
    return [bytes(size - sys.getsizeof(b"")) for _ in range(total // size)]
