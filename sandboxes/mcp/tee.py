"""What a server lists as its tools, as it came: the SDK refuses a whole page for one tool that it cannot read.

Stands between a transport and the session. Of each page it keeps all entries for `listing.py` to judge, and lets only
those pass that the SDK can read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import pydantic
from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest, JSONRPCResponse, Tool


class Tee:
    """A transport that reads along.

    Args:
        transport: The one to stand before.
    """

    def __init__(self, transport: AbstractAsyncContextManager[Any]) -> None:
        self.entries: list[Any] = []
        """Entries of all pages so far."""
        self._transport = transport
        self._asked: set[str] = set()

    def target(self) -> Transport:
        """What the SDK's client takes as its server."""
        return self._enter()

    @asynccontextmanager
    async def _enter(self) -> AsyncIterator[Any]:
        async with self._transport as (received, requests):
            yield _Received(received, self), _Requests(requests, self)

    def sent(self, message: SessionMessage) -> None:
        request = message.message
        if isinstance(request, JSONRPCRequest) and request.method == "tools/list":
            self._asked.add(str(request.id))

    def came(self, item: SessionMessage | Exception) -> SessionMessage | Exception:
        answer = item.message if isinstance(item, SessionMessage) else None
        if not isinstance(answer, JSONRPCResponse) or str(answer.id) not in self._asked:
            return item
        self._asked.discard(str(answer.id))
        page = answer.result.get("tools")
        if isinstance(page, list):
            self.entries += page
            answer.result["tools"] = [entry for entry in page if _is_readable(entry)]
        return item


def _is_readable(entry: Any) -> bool:
    try:
        return Tool.model_validate(entry, by_name=False).input_schema.get("type") == "object"
    except pydantic.ValidationError:
        return False


class _Stream:
    def __init__(self, inner: Any, tee: Tee) -> None:
        self._inner = inner
        self._tee = tee

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        done: bool | None = await self._inner.__aexit__(kind, error, traceback)
        return done

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Received(_Stream):
    async def receive(self) -> SessionMessage | Exception:
        return self._tee.came(await self._inner.receive())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return self._tee.came(await self._inner.__anext__())


class _Requests(_Stream):
    async def send(self, item: SessionMessage, /) -> None:
        self._tee.sent(item)
        await self._inner.send(item)
