"""What clients may say and what they get back: the messages, as pydantic models and as the JSON Schema made of them.

A request is one JSON object. Those about a session carry its token and `id`, the number of the request in that
session: 1, 2, 3, ... A session runs one request at a time and each number once. The number that ran last may be sent
again, over any connection: its reply is given again, and nothing is run. That is all that resuming is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

PROTOCOL = 1
"""Raised when a client of before could misunderstand."""

Json: TypeAlias = Any
Token = Annotated[str, Field(min_length=1, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CreateRequest(_Strict):
    """Open a session with an environment of its own."""

    op: Literal["create"]
    id: str = Field(min_length=16, max_length=64)
    """Chosen by the client at random; sent again, it gives the session that it gave before."""
    env_id: str | None = None
    """`None` where the server has only one environment."""
    options: dict[str, Json] = {}
    """Of the environment's constructor, as far as the server lets clients choose them."""


class _InSession(_Strict):
    id: int = Field(ge=1)
    """Number of the request in its session, from 1 without gaps."""
    session: Token


class ResetRequest(_InSession):
    """Begin an episode."""

    op: Literal["reset"]
    seed: int | None = Field(default=None, ge=0)
    task: str | None = None
    """Id of the task to play this once."""


class StepRequest(_InSession):
    """Play one assistant message."""

    op: Literal["step"]
    action: Json
    """Text in the environment's dialect, or an assistant message in OpenAI's form."""


class SnapshotRequest(_InSession):
    """Keep a picture of the episode at the server."""

    op: Literal["snapshot"]


class RestoreRequest(_InSession):
    """Go back to a picture."""

    op: Literal["restore"]
    snapshot: Token


class ForgetRequest(_InSession):
    """Drop pictures; one that is not there is no error."""

    op: Literal["forget"]
    snapshots: list[Token]


class ForkRequest(_InSession):
    """Open a session with an independent copy of this one's environment and episode."""

    op: Literal["fork"]


class RenderRequest(_InSession):
    """The conversation so far as text, for an environment made with `render_mode="ansi"`."""

    op: Literal["render"]


class TruncateRequest(_InSession):
    """End the episode at a budget that the client keeps."""

    op: Literal["truncate"]
    ending: str = Field(min_length=1, max_length=64)
    """The word for it in the trace, such as `max_tokens`."""


class TraceRequest(_InSession):
    """The episode so far as a record, without what is withheld."""

    op: Literal["trace"]


class TasksRequest(_InSession):
    """Ids of tasks of the split, always the same ones."""

    op: Literal["tasks"]
    n: int | None = Field(default=None, ge=0, le=10_000)
    """At most so many at a time; ask for more from `first` on."""
    first: int = Field(default=0, ge=0, le=2**31)


class TaskRequest(_InSession):
    """What an agent would see of a task."""

    op: Literal["task"]
    task: str


class CloseRequest(_InSession):
    """End the session. Its number and its reply are kept for a moment, so that it can be sent again."""

    op: Literal["close"]


SessionRequest: TypeAlias = (
    ResetRequest
    | StepRequest
    | SnapshotRequest
    | RestoreRequest
    | ForgetRequest
    | ForkRequest
    | RenderRequest
    | TruncateRequest
    | TraceRequest
    | TasksRequest
    | TaskRequest
    | CloseRequest
)
Request: TypeAlias = Annotated[CreateRequest | SessionRequest, Field(discriminator="op")]
REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)

ErrorKind: TypeAlias = Literal[
    "bad_message", "no_session", "out_of_order", "busy", "limit", "usage", "infrastructure", "internal"
]


class Created(_Strict):
    """Result of `create`, and of `fork` for the new session."""

    session: Token
    """Whoever has it may act in the session."""
    protocol: int = PROTOCOL
    env_id: str
    dialect: str
    split: str
    reward: dict[str, Json]
    """The specification in full, as `RewardSpec` takes it."""
    max_turns: int | None
    gold: bool
    """Whether `info` holds the gold trace and the matching."""
    grace: float
    """Seconds for which the session outlives the connection that it was last used over."""
    idle: float
    """Seconds after which a session that nobody uses is closed."""


class ResetResult(_Strict):
    """Result of `reset`."""

    observation: list[dict[str, Json]]
    info: dict[str, Json]
    """`tools`, `task_id` and what the family adds; `oracle` (its `calls`, its `script`, the `task`) if exposed."""
    tags: list[str]
    """Labels of the task; empty unless exposed."""


class StepResult(_Strict):
    """Result of `step`."""

    observation: list[dict[str, Json]]
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Json]
    """As the environment gives it; without `match` unless exposed."""


class SnapshotResult(_Strict):
    """Result of `snapshot`."""

    snapshot: Token


class RenderResult(_Strict):
    """Result of `render`."""

    text: str | None


class TraceResult(_Strict):
    """Result of `trace`: a `tir_gym.Trace`.

    `matches`, `gold_calls`, `parts`, and `comparators` and `same_result` of tools are empty unless exposed; of
    `env_kwargs` it has what the client chose.
    """

    trace: dict[str, Json]


class TasksResult(_Strict):
    """Result of `tasks`."""

    tasks: list[str]


class TaskResult(_Strict):
    """Result of `task`."""

    id: str
    messages: list[dict[str, Json]]
    tools: list[dict[str, Json]]
    """In OpenAI's form."""
    tags: list[str]
    """Empty unless exposed."""


class NoResult(_Strict):
    """Result of `restore`, `forget`, `truncate` and `close`."""


class Failure(_Strict):
    """What went wrong.

    `bad_message`: it could not be read. `no_session`: never there, closed, expired, or of a server that was restarted.
    `out_of_order`, `busy`: the number is not the next one, or another request of the session is still running.
    `limit`: the server has no room. `usage`: the environment refuses, and says what to do instead. `infrastructure`:
    something broke; `cause` names it. `internal`: a bug of the server. The first five leave the session as it was, and
    the first four use up no number; a `snapshot` or `fork` that met `limit` has used up its own.
    """

    kind: ErrorKind
    message: str
    cause: str | None = None


class Reply(_Strict):
    """What a request gets back."""

    id: int | str | None
    """As in the request; `None` where it could not be read."""
    session: Token | None = None
    ok: Literal[True]
    result: (
        Created
        | ResetResult
        | StepResult
        | SnapshotResult
        | RenderResult
        | TraceResult
        | TasksResult
        | TaskResult
        | NoResult
    )


class ErrorReply(_Strict):
    """What a request gets back that could not be served."""

    id: int | str | None
    session: Token | None = None
    ok: Literal[False]
    error: Failure


def schema() -> dict[str, Any]:
    """The JSON Schema of requests and replies, as published in `docs/server.schema.json` and at `GET /schema`."""
    template = "#/$defs/{model}"
    every: TypeAdapter[Any] = TypeAdapter(Request | Reply | ErrorReply)
    definitions = every.json_schema(ref_template=template)["$defs"]
    requests = REQUESTS.json_schema(ref_template=template)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"tir-gym environment server, protocol {PROTOCOL}",
        "oneOf": [{"$ref": "#/$defs/Request"}, {"$ref": "#/$defs/Reply"}, {"$ref": "#/$defs/ErrorReply"}],
        "$defs": {"Request": {"oneOf": requests["oneOf"], "discriminator": requests["discriminator"]}} | definitions,
    }
