"""Turns pass while weights are in place, and wait while they are replaced: for engines that others run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turnstile:
    """Many turns at a time, or one update alone. An update lets turns under way end and holds back new ones."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._inside = 0
        self._closed = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One of many."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            # Without waiting, so that a cancelled turn is counted out too.
            self._inside -= 1
            if self._closed:
                asyncio.get_running_loop().create_task(self._tell())

    @asynccontextmanager
    async def update(self) -> AsyncIterator[None]:
        """Alone."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed)
            self._closed = True
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: self._inside == 0)
            yield
        finally:
            self._closed = False
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
