"""The MCP face: the tools of a session's episode, at `/mcp/SESSION` over streamable HTTP.

A call of a tool is a turn with one call. One tool is added, `say`: what an agent says to the user, its final answer
last. The task itself is the prompt `task`. What MCP has no field for (reward, whether the episode is over) travels
under `_meta`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from mcp import MCPError
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListToolsResult,
    PaginatedRequestParams,
    Prompt,
    PromptMessage,
    TextContent,
    Tool,
)
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import tir_gym
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.records import ToolSpec
from tir_gym.sandboxes.mcp.listing import META
from tir_gym.sandboxes.mcp.serving import answer, listed
from tir_gym.server.calls import PlayedCall, play_call, play_words
from tir_gym.server.house import House
from tir_gym.server.sessions import Session
from tir_gym.server.wire import public_tool, write

_current: ContextVar[Session] = ContextVar("tir_gym.session")
"""The session that a request over HTTP is about, where the SDK asks without its context."""

_SAY = "say"
_SAID = "Say something to the user. If you have asked something the reply comes back; else it is your final answer."


class McpFace:
    """Serves the episodes of a house over MCP."""

    def __init__(self, house: House) -> None:
        self._house = house
        server = serve_episode(house, lambda context: context.request.scope["tir_gym.session"], _input_schema)
        self._manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=house.sessions.bounds.message
        )

    def routes(self) -> list[Route]:
        return [Route("/mcp/{session}", self)]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While it is entered, requests are served; once."""
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = self._house.sessions.get(scope["path_params"]["session"])
        if session is None or not session.open:
            await PlainTextResponse("no such session", 404)(scope, receive, send)
            return
        _current.set(session)
        await self._manager.handle_request({**scope, "tir_gym.session": session}, receive, send)


def serve_episode(
    house: House,
    find: Callable[[Any], Session],
    input_schema: Callable[[str], Mapping[str, Any] | None] | None = None,
) -> Server[Any]:
    """A server of the SDK for the episode of a session.

    Args:
        house: Runs the calls.
        find: The session that a request is about, from the SDK's context of it.
        input_schema: The schema of the arguments of the tool with that name, if there is one. Without it the SDK lists
            all tools before each call over HTTP.
    """
    exposed = house.player.expose_gold

    # By session, for the specifications that it was made of.
    lists: WeakKeyDictionary[Session, tuple[tuple[ToolSpec, ...], ListToolsResult]] = WeakKeyDictionary()

    async def list_tools(context: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        session = find(context)
        specs = await _ask(house, session, lambda session: session.env.task.tools)
        made_of, made = lists.get(session, (None, None))
        if made is None or made_of is not specs:
            schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
            say = Tool(name=_say(specs), description=_SAID, input_schema=schema)
            made = ListToolsResult(tools=[*(listed(public_tool(spec, exposed)) for spec in specs), say])
            lists[session] = (specs, made)
        return made

    async def call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
        def play(session: Session) -> PlayedCall:
            env, arguments = session.env, params.arguments or {}
            if params.name == _say(env.task.tools):
                return play_words(env, str(arguments.get("text", "")), exposed)
            return play_call(env, params.name, arguments, exposed)

        played = await _ask(house, find(context), play, len(write(params.arguments or {})))
        given = answer(played.result)
        given.meta = {META: {**(given.meta or {}).get(META, {}), **played.feedback()}}
        return given

    async def list_prompts(context: Any, params: PaginatedRequestParams | None) -> ListPromptsResult:
        return ListPromptsResult(prompts=[Prompt(name="task", description="What is to be done.")])

    async def get_prompt(context: Any, params: GetPromptRequestParams) -> GetPromptResult:
        if params.name != "task":
            raise MCPError(code=INVALID_PARAMS, message=f"no prompt {params.name!r}; there is 'task'")
        messages = await _ask(house, find(context), lambda session: session.env.task.messages)
        return GetPromptResult(
            messages=[
                PromptMessage(
                    role="assistant" if message["role"] == "assistant" else "user",
                    content=TextContent(text=str(message["content"])),
                )
                for message in messages
            ]
        )

    return Server(
        "tir-gym",
        version=tir_gym.__version__,
        instructions=f"The prompt `task` says what to do. Use the tools; answer with `{_SAY}`.",
        get_tool_input_schema=input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )


def _input_schema(name: str) -> Mapping[str, Any] | None:
    try:
        specs = _current.get().env.task.tools
    except UsageError:  # no episode is running, which the call itself is told
        return None
    return next((spec.parameters for spec in specs if spec.name == name), None)


async def _ask(house: House, session: Session, work: Callable[[Session], Any], size: int = 0) -> Any:
    try:
        return await house.run(session, "mcp", work, size)
    except UsageError as error:
        raise MCPError(code=INVALID_PARAMS, message=str(error)) from error
    except InfrastructureError as error:
        raise MCPError(code=INTERNAL_ERROR, message=str(error)) from error


def _say(specs: tuple[ToolSpec, ...]) -> str:
    """The name of the added tool, which no tool of the episode has."""
    name, taken = _SAY, {spec.name for spec in specs}
    while name in taken:
        name += "_"
    return name
