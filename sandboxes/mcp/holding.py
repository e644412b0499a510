"""Who holds a session: opened once however many wait for it, ended with its last user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tir_gym.sandboxes.mcp.session import Session


class Held:
    """A session, if there is one; apart from the sandbox, so that it can be ended after that is gone."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.users = 0
        self._opening: asyncio.Task[Session] | None = None

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Where the session lives or is being opened."""
        if self.session is not None and self.session.usable:
            return self.session.loop
        if self._opening is not None and not self._opening.get_loop().is_closed():
            return self._opening.get_loop()
        return None

    async def open_once(self, make: Callable[[], Coroutine[Any, Any, Session]]) -> Session:
        """Open a session, or wait for the one that is being opened."""
        if self._opening is None or self._opening.get_loop() is not asyncio.get_running_loop():
            self._opening = asyncio.get_running_loop().create_task(make())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def let_go(self) -> Session | None:
        session, self.session = self.session, None
        if session is not None:
            session.stop()
        return session

    def leave(self) -> None:
        """One user less; the last one ends the session."""
        self.users -= 1
        if self.users == 0:
            self.let_go()

    def _opened(self, task: asyncio.Task[Session]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self.session = task.result()
