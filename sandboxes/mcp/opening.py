"""Opening a session for a sandbox: connect, list the tools, and bring the server to the sandbox's state."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp import MCPError

from tir_gym.errors import InfrastructureError, SandboxDied, SandboxUnavailable, TimeLimit, ToolError, UsageError
from tir_gym.records import Effect, ToolCall
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.mcp.holding import Held
from tir_gym.sandboxes.mcp.listing import Listing, read_tools
from tir_gym.sandboxes.mcp.log import Log, sent
from tir_gym.sandboxes.mcp.places import Place
from tir_gym.sandboxes.mcp.results import read_result
from tir_gym.sandboxes.mcp.session import Session

log = logging.getLogger("tir_gym.sandbox")


@dataclass
class Core:
    """What a sandbox and its forks have in common; see `McpSandbox` for the options."""

    place: Place
    limits: Limits
    shared: bool
    replayable: bool
    state: ToolCall | None
    effects: Mapping[str, Effect] | Effect | None
    start_seconds: float
    listing: Listing | None = None
    """The tools, from the first session on."""
    initial_state: Any = None
    """What the state tool told at the start, if there is one."""
    held: Held = field(default_factory=Held)
    """The session of all, if it is shared."""

    @property
    def frame(self) -> int:
        """Bytes that one message of the server may have."""
        # JSON may take six bytes for one, and structured content comes as text, too.
        return 8 * self.limits.output + (1 << 16)


async def open_session(core: Core, past: Log) -> Session:
    """A session with a server on which the calls of the log have been made.

    Raises:
        SandboxUnavailable: The server cannot be had, or offers nothing.
        SandboxDied: It failed while the calls were sent again.
        InfrastructureError: It answered one of them otherwise than before.
        UsageError: The state tool or a tool named in `effects` is not offered.
    """
    session = Session(core.place, core.frame)
    listed = await session.open(core.start_seconds)
    try:
        _read_listing(core, listed)
        if core.state is not None and core.initial_state is None:
            core.initial_state = await tell_state(core, session)
        if not core.shared:
            await _send_again(core, session, past)
    except (TimeLimit, MCPError) as error:
        session.stop()
        raise SandboxDied(f"{core.place.name}, while it was brought to its state: {error}") from error
    except BaseException:
        session.stop()
        raise
    return session


async def tell_state(core: Core, session: Session) -> Any:
    """What the state tool tells; text that is JSON, as data.

    Raises:
        TimeLimit, MCPError: As `Session.call`.
        InfrastructureError: It refuses.
    """
    call = core.state
    assert call is not None
    answer = await session.call(call.name, call.arguments, core.limits.wall_seconds)
    result = read_result(answer, core.frame)
    if not result.ok:
        raise InfrastructureError(f"the state tool {call.name} failed: {result.error}", kind="bad_state")
    if isinstance(result.content, str):
        try:
            return json.loads(result.content)
        except ValueError:
            return result.content
    return result.content


async def _send_again(core: Core, session: Session, past: Log) -> None:
    for one in past:
        answer = await session.call(one.name, one.arguments, core.limits.wall_seconds)
        if sent(ToolCall(one.name, one.arguments), answer, replayable=True) != one:
            raise InfrastructureError(
                f"{core.place.name} is not replayable: {one.name}, sent again to a new server, was answered otherwise; "
                "leave replayable=True out",
                tool=one.name,
                kind="not_replayable",
            )


def _read_listing(core: Core, listed: Iterable[Any]) -> None:
    if core.listing is not None:
        return
    listing = read_tools(core.place.name, listed, effects=core.effects)
    for one in listing.refused:
        log.warning("not offered: %s", one)
    if not listing.tools:
        why = "; ".join(str(one) for one in listing.refused[:3]) or "it lists none"
        raise SandboxUnavailable(f"{core.place.name} offers no tool that can be used: {why}", kind="server_missing")
    if core.state is not None:
        try:
            listing.find(core.state.name).check(core.state.arguments)
        except ToolError as error:
            raise UsageError(f"state: {core.place.name} cannot be asked for it: {error}") from None
    core.listing = listing
