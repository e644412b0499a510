"""The records: what crosses a border or is written to disk, as frozen pydantic models that round-trip through JSON.

Data only. What is done with them lives elsewhere: tools in `tool.py`, episodes in `env.py`, scores in `matching/`
and `rewards/`, replay of a gold trace in `gold.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Json: TypeAlias = Any
"""A JSON value: null, boolean, number, string, list, or object with string keys."""

Message: TypeAlias = dict[str, Any]
"""A chat message in OpenAI's form: `role`, `content`, and where they apply `tool_calls`, `tool_call_id`, `name`."""

Effect: TypeAlias = Literal["read", "write", "irreversible"]

TRACE_VERSION = 1
"""Version of the trace format; a reader refuses a newer one."""


class Record(BaseModel):
    # NaN and infinities, which an agent may well send, stay themselves in a dump; pydantic would write null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ToolSpec(Record):
    """A tool as an agent sees it, and what the environment must know about it."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    """Unique within a task; letters, digits, `_`, `-` and `.`."""
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    """JSON Schema of the arguments, an object schema."""
    effect: Effect = "read"
    """`read` changes nothing, `write` can be undone by another call, `irreversible` cannot."""
    scopes: tuple[str, ...] = ()
    """Parts of the world that the tool touches, by name."""
    comparators: dict[str, str] = {}
    """How a gold value of an argument is compared, by argument name; `exact` where absent. See `compare.py`."""
    same_result: str = ""
    """The comparator of results, for a tool whose arguments can say one thing in endless ways, such as code: a call
    that gave what a gold call of the tool gives counts as that call. Empty: only arguments count."""

    def to_openai(self) -> dict[str, Any]:
        """The tool as an entry of OpenAI's `tools` parameter."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": self.parameters},
        }

    @classmethod
    def from_openai(cls, entry: Mapping[str, Any], *, effect: Effect = "read") -> ToolSpec:
        """Read an entry of OpenAI's `tools` parameter; `effect` is not part of that format.

        Raises:
            pydantic.ValidationError: The entry has no valid name or is not an object.
        """
        function = entry.get("function", entry)
        return cls(
            name=function.get("name"),
            description=function.get("description") or "",
            parameters=function.get("parameters") or {"type": "object", "properties": {}},
            effect=effect,
        )


class ToolCall(Record):
    """A call that an agent makes: `ToolCall("AddAlarm", {"time": "07:30:00"})`."""

    name: str
    arguments: dict[str, Any] = {}
    id: str | None = None
    """The agent's own id for the call, echoed in the tool message; no part of the call's meaning."""

    def __init__(self, name: str, arguments: Mapping[str, Any] | None = None, id: str | None = None) -> None:
        # As `BaseModel.__init__` does it, less a detour: one is made for every call.
        fields = {"name": name, "arguments": {} if arguments is None else arguments, "id": id}
        self.__pydantic_validator__.validate_python(fields, self_instance=self)


class ToolResult(Record):
    """What a call gave back: `content`, or `error` and its kind; both where something was printed before it failed."""

    content: Json = None
    error: str | None = None
    """Text of the refusal, for the agent to act on; `None` when the call succeeded."""
    error_kind: str | None = None
    """`refused`, `invalid_arguments`, `unknown_tool`, `conflict`, `malformed`, or one of a sandbox: `raised`, `died`,
    `time_limit`, ... (`errors.py`)."""

    def __init__(self, content: Json = None, error: str | None = None, error_kind: str | None = None) -> None:
        fields = {"content": content, "error": error, "error_kind": error_kind}
        self.__pydantic_validator__.validate_python(fields, self_instance=self)

    @property
    def ok(self) -> bool:
        return self.error is None


class Ref(Record):
    """A value found by an earlier gold call: `path` inside the content of call number `call`.

    In a gold call's arguments it stands as `{"$ref": {"call": 0, "path": ["emails", 0, "sender"]}}`.
    """

    call: int = Field(ge=0)
    path: tuple[str | int, ...] = ()


class GoldCall(Record):
    """A call of the gold trace; argument values may be references to earlier results."""

    name: str
    arguments: dict[str, Any] = {}
    stage: int = Field(default=0, ge=0)
    """User turns that must have been delivered before the call can be known: 0 for the opening request."""
    alternatives: tuple[GoldCall, ...] = ()
    """Other calls that do this step just as well; the most similar counts."""
    refused: bool = False
    """Whether the tool must refuse it, as when a user wants to see that the old password no longer works."""


class StateCheck(Record):
    """The final state must equal the one that replaying the gold calls reaches, generated ids aside."""

    kind: Literal["state"] = "state"
    comparators: dict[str, str] = {}
    """How fields of records are compared, by `table.field`; `exact` where absent. See `compare.py`."""
    sources: tuple[Ref, ...] = ()
    """Results of gold calls that tell what to write, where no reference says so: an answer read in a text."""


class UnchangedCheck(Record):
    """The final state must equal the initial one."""

    kind: Literal["unchanged"] = "unchanged"


class AskedCheck(Record):
    """The agent must have asked for the missing value `slot`, and got it from the user."""

    kind: Literal["asked"] = "asked"
    slot: str


class RefusedCheck(Record):
    """The final answer must be marked as a refusal."""

    kind: Literal["refused"] = "refused"
    sources: tuple[Ref, ...] = ()
    """Results of gold calls that show why it cannot be done, such as an empty list."""


class AnswerCheck(Record):
    """The final answer must state `value`; see `answers.py` for how each type is read and compared."""

    kind: Literal["answer"] = "answer"
    type: Literal["text", "number", "time", "date", "set"] = "text"
    value: Json
    sources: tuple[Ref, ...] = ()
    """Where the value, or each part of it, is found in the results of the gold calls."""

    @model_validator(mode="after")
    def _value_fits_type(self) -> AnswerCheck:
        kinds, what = _ANSWER_VALUES[self.type]
        if not isinstance(self.value, kinds) or isinstance(self.value, bool):
            raise ValueError(f"value: an answer of type {self.type!r} is {what}, got {self.value!r:.80}")
        return self


_ANSWER_VALUES: dict[str, tuple[tuple[type, ...], str]] = {
    "text": ((str, int, float), "text or a number"),
    "number": ((int, float), "a number"),
    "time": ((str,), "text"),
    "date": ((str,), "text"),
    "set": ((list, tuple), "a list"),
}


class FigureCheck(Record):
    """A figure of the family's own (`ToolEnv.metrics`) must be high enough, as a published benchmark may prescribe."""

    kind: Literal["figure"] = "figure"
    figure: str
    """Its name."""
    at_least: float = 1.0


Check: TypeAlias = Annotated[
    StateCheck | UnchangedCheck | AskedCheck | RefusedCheck | AnswerCheck | FigureCheck, Field(discriminator="kind")
]


class GoldTrace(Record):
    """One right way to do a task, and how to tell that it was done."""

    calls: tuple[GoldCall, ...] = ()
    after: tuple[tuple[int, int], ...] = ()
    """Edges `(earlier, later)` between positions in `calls`, besides those that references imply."""
    alternatives: tuple[GoldTrace, ...] = ()
    """Other traces that are just as right; the best-matching one counts."""
    checks: tuple[Check, ...] = ()
    """All must hold for success."""
    reply: str = ""
    """The final message of one who did it right."""

    @model_validator(mode="after")
    def _edges_point_forward(self) -> GoldTrace:
        for earlier, later in self.after:
            if not 0 <= earlier < later < len(self.calls):
                raise ValueError(
                    f"after: edge ({earlier}, {later}) must satisfy 0 <= earlier < later < {len(self.calls)}"
                )
        return self

    @model_validator(mode="after")
    def _alternatives_are_flat(self) -> GoldTrace:
        if any(trace.alternatives for trace in self.alternatives):
            raise ValueError("alternatives: an alternative has none of its own; list them all beside each other")
        return self


class Reply(Record):
    """A thing that the scripted user says."""

    text: str
    slot: str | None = None
    """Said when the agent asks for this value; `None`: said next, whatever the agent says."""
    phrases: tuple[str, ...] = ()
    """A question asks for the slot when it holds one of these, case folded."""

    @model_validator(mode="after")
    def _slots_can_be_asked_for(self) -> Reply:
        if self.slot is not None and not all(phrase.strip() for phrase in self.phrases or ("",)):
            raise ValueError(f"phrases: the slot {self.slot!r} needs words that ask for it, none of them blank")
        return self


class ScriptedUser(Record):
    """A user who follows a script: replies without a slot come in order, replies with one only when asked for."""

    replies: tuple[Reply, ...] = ()


class TaskLimits(Record):
    """Budgets of one episode; running into one truncates it."""

    max_turns: int = Field(default=30, ge=1)
    """Assistant messages."""
    max_calls_per_turn: int = Field(default=64, ge=1)
    """Calls of one message that are run; the rest are answered with an error."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Wall-clock seconds since reset. Opt-in, because it makes an episode depend on the machine."""


class Task(Record):
    """A task is data: everything an environment needs to play and score one episode."""

    id: str
    """Unique within the environment, such as `train/17`."""
    messages: tuple[Message, ...]
    """What the agent sees first: a system prompt and the user's request."""
    tools: tuple[ToolSpec, ...] = ()
    state: dict[str, Any] = {}
    """Initial state of the sandbox: table name -> key -> record, or whatever the family's sandbox takes."""
    now: str = "2025-01-06 09:00:00"
    """The simulated clock, `YYYY-MM-DD HH:MM:SS`."""
    seed: int = 0
    """Seed of generated ids inside the sandbox."""
    gold: GoldTrace
    user: ScriptedUser = ScriptedUser()
    teacher_forced: bool = False
    """Whether every user turn starts from the state that the gold calls of all earlier stages reach."""
    limits: TaskLimits = TaskLimits()
    tags: tuple[str, ...] = ()
    """Labels for tables and filters, such as the template's name."""

    @model_validator(mode="after")
    def _user_says_what_the_gold_needs(self) -> Task:
        slots = {reply.slot for reply in self.user.replies}
        for trace in (self.gold, *self.gold.alternatives):
            last = max((call.stage for call in trace.calls), default=0)
            if last > len(self.user.replies):
                raise ValueError(f"gold: a call of stage {last}, but the user has {len(self.user.replies)} replies")
            for check in trace.checks:
                if isinstance(check, AskedCheck) and check.slot not in slots:
                    raise ValueError(f"gold: slot {check.slot!r} must be asked for, but no reply of the user has it")
        return self


class MatchedCall(Record):
    """A call of the agent and the gold call that it was matched with in the end."""

    turn: int = Field(ge=0)
    call: int = Field(ge=0)
    """Position of the call in its turn."""
    gold: int | None = Field(ge=0)
    """Position in the gold trace, `None` if the call paid for nothing."""
    score: float


class Turn(Record):
    """One assistant message and what came of it."""

    action: Json
    """The action exactly as the agent sent it."""
    text: str
    """Its words, calls removed."""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    """One per call, in order."""
    malformed: tuple[str, ...] = ()
    """What was wrong with each piece that looked like a call and could not be read."""
    observation: tuple[Message, ...] = ()
    """The messages with which the environment answered."""
    reward: float = 0.0
    parts: dict[str, float] = {}
    """The reward's terms; they sum to `reward`."""


class Provenance(Record):
    """Where a trace comes from: enough to play it again."""

    env_id: str
    tir_gym: str
    """Version of this package."""
    task_id: str
    seed: int | None = Field(default=None, ge=0)
    """Seed given to `reset`, if one was."""
    env_kwargs: dict[str, Any] = {}
    agent: str | None = None


class Trace(Record):
    """A whole episode, self-contained. `canonical()` is the same bytes wherever the same actions were played."""

    version: int = TRACE_VERSION
    provenance: Provenance
    messages: tuple[Message, ...]
    """What the agent saw at reset."""
    tools: tuple[ToolSpec, ...]
    turns: tuple[Turn, ...] = ()
    matches: tuple[MatchedCall, ...] = ()
    gold_calls: int = 0
    """Calls of the gold trace that was matched best."""
    terminated: bool = False
    truncated: bool = False
    ending: str | None = None
    """`answer`, `refusal`, `max_turns`, `max_seconds`, `infra_error`, or `None` while the episode runs; a budget that
    the caller keeps has a word of the caller's, such as `max_tokens`."""
    success: bool | None = None
    """Whether all checks held; `None` while running and after an infrastructure failure."""
    checks: dict[str, bool] = {}
    """Each declared check and whether it held."""
    turn_rewards: tuple[float, ...] = ()
    """Hindsight credit of each turn, see `rewards/`."""
    infra_error: dict[str, Any] | None = None
    metrics: dict[str, float] = {}
    """The family's own figures."""

    def canonical(self) -> bytes:
        """UTF-8 JSON with sorted keys and no clock in it."""
        import json

        # Not `mode="json"`: it refuses keys with lone surrogates, and agents do send those.
        return json.dumps(self.model_dump(), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )
