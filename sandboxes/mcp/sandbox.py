"""The sandbox whose tools live in an MCP server. What such a server keeps to itself cannot be seen, nor undone.

So a state is undone by beginning anew: every sandbox has a session of its own, and a program of its own behind it, made
at the first call and given up by `restore` to the start. Going back to any other state takes a server on which the same
calls lead to the same state (`replayable=True`): a new one is started and the calls that may write are sent again.
`diff` and `digest` tell those calls, or what a tool of the server tells of its state (`state=...`).
"""

from __future__ import annotations

import asyncio
import copy
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from mcp import MCPError
from mcp_types import CallToolResult

from tir_gym.errors import (
    InfrastructureError,
    OutputLimit,
    SandboxDied,
    TimeLimit,
    ToolError,
    UsageError,
)
from tir_gym.records import Effect, ToolCall, ToolResult, ToolSpec
from tir_gym.sandbox import Limits, Sandbox
from tir_gym.sandboxes.mcp import loop
from tir_gym.sandboxes.mcp.failures import failure_of
from tir_gym.sandboxes.mcp.holding import Held
from tir_gym.sandboxes.mcp.launching import Jailed, Kept
from tir_gym.sandboxes.mcp.listing import Listing, RefusedTool
from tir_gym.sandboxes.mcp.log import Log, changes, digest, sent, state_changes
from tir_gym.sandboxes.mcp.opening import Core, open_session, tell_state
from tir_gym.sandboxes.mcp.places import Address, InMemory, Place, Program, ServerObject, whole_command
from tir_gym.sandboxes.mcp.results import read_result
from tir_gym.sandboxes.mcp.session import Session, is_running

T = TypeVar("T")

_MARGIN = 10.0
"""Seconds beyond all that a session may take, after which its loop must be stuck."""


class McpSandbox(Sandbox):
    """A client of one MCP server. Exactly one of `command`, `url` and `server` says which.

    Of the limits, `wall_seconds` and `output` are held; the others mean nothing here, because a server's process is not
    the agent's. A server that is a program gets no variable of this process's environment, and a folder of its own; it
    is nonetheless a program with all the rights of its user, unless `jailed`. There `memory` (of each process),
    `processes`, `files` and `disk` are held, too.

    The tools are those listed when the first session is opened; `refused` tells which of them cannot be offered and
    why. What a server lists later does not matter: an episode's tools do not change.

    Args:
        command: A program that speaks MCP over its standard input and output.
        args: Its arguments.
        env: Variables that it gets besides `PATH`, `LANG`, `HOME` and `TMPDIR`.
        cwd: Its working folder, instead of a new one that goes with it.
        jailed: Start it in a slot of the jail: without network, and without files but the system's and Python's.
        read_only: Folders and files of the host that it sees there, and where.
        url: Address of a server behind streamable HTTP.
        headers: Sent with each request to it, such as `Authorization`.
        server: A server object of the SDK (`Server`, `MCPServer`) in this process, or a function that makes one for
            each session. An object keeps its state over all sessions, so it cannot be forked or restored.
        limits: See above.
        shared: Forks use one session, for servers without a state of their own: nothing is undone, ever.
        replayable: The same calls, sent to a new server, lead to the same state and the same answers.
        state: A tool that tells the whole state, or a call of it; its result is what `diff` and `digest` look at.
        effects: What tools do to the state, by name or one for all; a hint of the server's counts where nothing is
            said, and `write` where nothing is hinted.
        start_seconds: How long a server may take to start and to list its tools.

    Raises:
        UsageError: Not exactly one server, or options that do not fit it.
    """

    def __init__(
        self,
        *,
        command: str | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        jailed: bool = False,
        read_only: Mapping[str, str] | None = None,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        server: ServerObject | Callable[[], ServerObject] | None = None,
        limits: Limits | None = None,
        shared: bool = False,
        replayable: bool = False,
        state: str | ToolCall | None = None,
        effects: Mapping[str, Effect] | Effect | None = None,
        start_seconds: float = 30.0,
    ) -> None:
        given = [name for name, value in (("command", command), ("url", url), ("server", server)) if value is not None]
        if len(given) != 1:
            raise UsageError(f"{' and '.join(given) or 'no server'} given; give exactly one of command, url and server")
        if command is None and (args or env or cwd or jailed or read_only):
            raise UsageError("args, env, cwd, jailed and read_only are for a server that is a program: command=...")
        if jailed and cwd:
            raise UsageError("cwd: a server in the jail works in its own folder, /work; leave it out")
        if read_only and not jailed:
            raise UsageError("read_only: a server outside the jail sees everything; give it with jailed=True")
        if url is None and headers:
            raise UsageError("headers are for a server behind an address; give them with url=...")
        if shared and (replayable or state is not None):
            raise UsageError("shared=True is for servers without a state; leave replayable and state out")
        place: Place
        if command is not None:
            whole = whole_command(command, args, env or {})
            if jailed:
                place = Program(whole, partial(Jailed, whole, env or {}, read_only or {}, limits or Limits()))
            else:
                place = Program(whole, partial(Kept, whole, env or {}, cwd))
        elif url is not None:
            place = Address(url, headers or {})
        else:
            assert server is not None
            place = InMemory(server)
        self._core = Core(
            place=place,
            limits=limits or Limits(),
            shared=shared,
            replayable=replayable,
            state=ToolCall(state) if isinstance(state, str) else state,
            effects=effects,
            start_seconds=start_seconds,
        )
        self._log: Log = ()
        self._lost = ""
        self._begin_apart()

    @property
    def specs(self) -> tuple[ToolSpec, ...]:  # type: ignore[override]
        return self._listing().specs

    @property
    def refused(self) -> tuple[RefusedTool, ...]:
        """Tools of the server that are not offered, and why."""
        return self._listing().refused

    # The contract.

    def start(self) -> None:
        """Connect and list the tools. After the server has died: begin anew, with an empty log unless replayable.

        Raises:
            SandboxUnavailable: The server cannot be had.
        """
        self._wait(self.astart(), 0)

    def call(self, call: ToolCall) -> ToolResult:
        return self._wait(self.acall(call), 1)

    def run_turn(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        return self._wait(self.arun_turn(calls), len(calls))

    async def astart(self) -> None:
        async def begin() -> None:
            if self._lost:
                self._log = self._log if self._core.replayable else ()
                self._lost = ""
            await self._ready()

        await self._on_its_loop(begin)

    async def acall(self, call: ToolCall) -> ToolResult:
        return await self._on_its_loop(lambda: self._run(call))

    async def arun_turn(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        async def turn() -> list[ToolResult]:
            results: list[ToolResult] = []
            for group in self._groups(calls):
                results += await asyncio.gather(*map(self._run, group)) if group[1:] else [await self._run(group[0])]
            return results

        return await self._on_its_loop(turn)

    def snapshot(self) -> Any:
        return self._log

    def restore(self, snapshot: Any) -> None:
        """Go back to a picture.

        Raises:
            UsageError: It is not of the start, and the server is not replayable; or the server is an object.
        """
        core = self._core
        if core.shared:
            self._log = snapshot
            return
        if snapshot and snapshot == self._log and not self._lost:
            return
        if self._log or snapshot:
            self._check_repeatable(snapshot, "restore()")
        self._held.let_go()
        self._log, self._lost = snapshot, ""

    def fork(self) -> McpSandbox:
        """An independent sandbox in the same state; its server is started at its first call.

        Raises:
            UsageError: Calls may have written, and the server is not replayable; or the server is an object.
        """
        if not self._core.shared:
            self._check_repeatable(self._log, "fork()")
        twin = copy.copy(self)
        twin._begin_apart()
        return twin

    def digest(self) -> str:
        """Digest of the calls that may have written, in their order, or of what the state tool tells.

        Equal digests of calls mean equal calls; what different calls led to is known to the server alone.
        """
        if self._core.state is None:
            return digest(changes(self._log))
        return digest(self._wait(self._state_now(), 1))

    def diff(self) -> dict[str, Any]:
        """Table `calls`: each call that may have written and was not refused, as a new row. With a state tool: how its
        result differs from that at the start."""
        if self._core.state is None:
            return changes(self._log)
        now = self._wait(self._state_now(), 1)
        return state_changes(self._core.initial_state, now)

    def close(self) -> None:
        """End the session, and the server's process if it has one; a shared one with the last sandbox that uses it."""
        session = self._give_up()
        if session is not None:
            session.wait(5.0)

    async def aclose(self) -> None:
        session = self._give_up()
        if session is not None:
            await asyncio.to_thread(session.wait, 5.0)

    # One call.

    async def _run(self, call: ToolCall) -> ToolResult:
        listing = self._core.listing
        if listing is None:
            await self._ready()
            listing = self._listing()
        try:
            tool = listing.find(call.name)
            tool.check(call.arguments)
        except ToolError as mistake:
            return ToolResult(error=str(mistake), error_kind=mistake.kind)
        session = await self._ready()
        try:
            answer = await self._send(session, call)
        except ToolError as refusal:
            return ToolResult(error=str(refusal), error_kind=refusal.kind)
        if tool.result is not None and not answer.is_error:
            faults = tool.result.faults(answer.structured_content)
            if faults:
                raise InfrastructureError(
                    f"tool {call.name}: its result is not what its outputSchema says: {'; '.join(faults)}",
                    tool=call.name,
                    kind="bad_result",
                )
        return read_result(answer, self._core.limits.output)

    async def _send(self, session: Session, call: ToolCall) -> CallToolResult:
        """Send it, write it down, and tell apart who failed. It is never sent twice."""
        writes = self._listing().by_name[call.name].spec.effect != "read"
        try:
            answer = await session.call(call.name, call.arguments, self._core.limits.wall_seconds)
        except (TimeLimit, asyncio.CancelledError):
            self._doubt(call, writes)
            raise
        except Exception as error:
            failure = failure_of(error, call.name, session.too_big())
            if isinstance(failure, (OutputLimit, InfrastructureError)):
                self._doubt(call, writes)
            raise failure or await self._death(session, call) from error
        if writes:
            self._log = (*self._log, sent(call, answer, replayable=self._core.replayable))
        return answer

    def _doubt(self, call: ToolCall, writes: bool) -> None:
        """Whether it was done is not known here: go back to where it was not, or write down that it may have been."""
        if writes and self._core.replayable:
            self._held.let_go()
        elif writes:
            self._log = (*self._log, sent(call, None, replayable=False))

    async def _death(self, session: Session, call: ToolCall) -> SandboxDied:
        obituary = await session.obituary()
        session.stop()
        if self._held.session is session:
            self._held.let_go()
            if not self._core.shared:  # a server without a state is as good when it is a new one
                self._lost = obituary
        return SandboxDied(f"{self._core.place.name}: {obituary}", tool=call.name)

    # Sessions.

    async def _ready(self) -> Session:
        """The session, opened and brought to this sandbox's state if it is not there."""
        core, held = self._core, self._held
        if self._lost:
            raise SandboxDied(f"{core.place.name}: {self._lost}; restore() or start() begins anew")
        session = held.session
        if session is not None and session.usable:
            return session
        if session is not None and not core.shared and not core.replayable and self._log:
            self._lost = "its session was opened in another process or event loop, and is gone"
            raise SandboxDied(f"{core.place.name}: {self._lost}")
        return await held.open_once(lambda: open_session(core, self._log))

    async def _state_now(self) -> Any:
        async def tell() -> Any:
            try:
                return await tell_state(self._core, await self._ready())
            except (MCPError, TimeLimit) as error:
                raise SandboxDied(f"{self._core.place.name} does not tell its state: {error}") from error

        return await self._on_its_loop(tell)

    async def _on_its_loop(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it where the session lives: on the running loop, unless it was opened on another one."""
        where = self._held.loop()
        if where is None or is_running(where):
            return await work()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), where))

    def _wait(self, work: Coroutine[Any, Any, T], calls: int) -> T:
        """Run it for a synchronous caller."""
        core, on = self._core, self._held.loop()
        if on is not None and is_running(on):
            work.close()
            raise UsageError("this session lives on the running event loop: await acall, arun_turn, astart or aclose")
        longest = core.start_seconds + (len(self._log) + calls + 1) * core.limits.wall_seconds + _MARGIN
        return loop.run(work, longest, on)

    def _begin_apart(self) -> None:
        """Have a session of one's own, unless it is shared."""
        if self._core.shared:
            self._held = self._core.held
            self._held.users += 1
            self._leave = weakref.finalize(self, self._held.leave)
        else:
            self._held = Held()
            weakref.finalize(self, self._held.let_go)

    def _give_up(self) -> Session | None:
        if self._core.shared:
            session = self._held.session
            self._leave()
            return session if self._held.session is None else None
        if self._log and not self._core.replayable:
            self._lost = "it was closed"
        return self._held.let_go()

    def _check_repeatable(self, log: Log, what: str) -> None:
        core = self._core
        if not core.place.reusable:
            raise UsageError(
                f"{what}: the server object {core.place.name} keeps its state; give a function that makes the server, "
                "or shared=True for one without a state"
            )
        if log and not core.replayable:
            raise UsageError(
                f"{what}: {len(log)} calls that may have written cannot be undone one by one; make the sandbox with "
                "replayable=True if sending them again to a new server leads to the same state, name tools that only "
                "read in effects=..., or go back to the start"
            )
        if any(one.answer is None for one in log):
            raise UsageError(f"{what}: a call was not answered as it should, so what it did cannot be repeated")

    def _groups(self, calls: Sequence[ToolCall]) -> Iterable[list[ToolCall]]:
        """Neighbouring reads together, everything else alone."""
        known = self._core.listing.by_name if self._core.listing is not None else {}
        group: list[ToolCall] = []
        for call in calls:
            reads = call.name in known and known[call.name].spec.effect == "read"
            if group and not reads:
                yield group
                group = []
            if reads:
                group.append(call)
            else:
                yield [call]
        if group:
            yield group

    def _listing(self) -> Listing:
        if self._core.listing is None:
            raise UsageError("the tools of an MCP server are not known before start()")
        return self._core.listing
