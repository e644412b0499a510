"""The event loop on which synchronous callers' sessions live: one per process, in a daemon thread, made when needed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from tir_gym.errors import SandboxDied

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T], timeout: float, loop: asyncio.AbstractEventLoop | None = None) -> T:
    """Run it on the loop and wait.

    Args:
        coroutine: What to run; it bounds its own time.
        timeout: Seconds after which the loop itself must be stuck.
        loop: Another loop than this module's, which runs in another thread.

    Raises:
        SandboxDied: The loop does not answer. Whoever calls next gets a new one.
    """
    global _loop
    on = loop or background()
    future = asyncio.run_coroutine_threadsafe(coroutine, on)
    try:
        return future.result(timeout)
    except concurrent.futures.TimeoutError:
        if future.done():
            raise
        future.cancel()
        if loop is None or loop is _loop:
            _loop = None
        raise SandboxDied(
            f"the event loop of the MCP sessions did not answer for {timeout:g} s; does a tool of a server in this "
            "process block it?"
        ) from None
    except BaseException:
        future.cancel()  # Ctrl-C, while waiting
        raise


def background() -> asyncio.AbstractEventLoop:
    """This process's loop for sessions."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="tir-gym-mcp", daemon=True).start()
        return _loop


_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()


def _forget() -> None:
    """In a forked child, where no thread but the forking one lives on."""
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
