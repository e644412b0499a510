"""`ToolEnv`: a task in words, tools in a sandbox, and a reward every turn, as a Gymnasium environment.

This file is the whole contract. A family subclasses `ToolEnv` and says two things: how a task is made (`make_task`)
and where its tools run (`make_sandbox`). See `docs/new-environment.md`.
"""

from __future__ import annotations

import copy
import logging
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import gymnasium

import tir_gym
from tir_gym.dialects import Malformed, ParsedMessage, get_dialect
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.frozen import freeze
from tir_gym.messages import Observation, one_line, tool_messages
from tir_gym.prepared import PreparedTask, prepared_tasks
from tir_gym.records import Message, Provenance, Task, ToolResult, Trace
from tir_gym.rewards import Credit, RewardSpec, TurnEvent, get_reward
from tir_gym.rewards import outcome as read_outcome
from tir_gym.running import PlayedTurn, RunningEpisode, Snapshot
from tir_gym.sandbox import Sandbox
from tir_gym.spaces import ActionSpace, ObservationSpace
from tir_gym.user import hear

Action: TypeAlias = str | dict[str, Any]
Split: TypeAlias = Literal["train", "test"]

log = logging.getLogger("tir_gym.env")

SPLITS: tuple[Split, ...] = ("train", "test")


class ToolEnv(gymnasium.Env[Observation, Action]):
    """An episode of tool use.

    **Action**: one assistant message, as text in the environment's dialect or as an OpenAI message dict with `content`
    and `tool_calls`. Several calls in one message are one turn. A message without calls goes to the scripted user if a
    reply is due; else it is the final answer and ends the episode. No action raises: what cannot be read, an unknown
    tool and wrong arguments come back as tool messages.

    **Observation**: the messages that are new since the last action, a tuple of dicts: system prompt and request at
    reset, then one `tool` message per call, or a `user` message.

    **Reward**: the turn's credit, see `RewardSpec`. `info["match"]` explains it.

    **terminated** when the final answer is given; **truncated** when a budget of `TaskLimits` runs out, or when the
    infrastructure fails, with reward 0.0 and `info["infra_error"]`; such an episode says nothing about the agent.

    Info at reset: `tools` (OpenAI form), `task_id`, `oracle` (the gold trace, for the oracle agent only).
    Info at each step: `match`. When the episode ends also `success` (bool), `checks` (bool by check), `turn_rewards`
    (hindsight credit, one per turn), `ending` (a word), and the family's own figures as `metrics` where it has some.
    After an infrastructure failure only `infra_error` (`kind`, `tool`, `message`) and `ending`.

    Same seed and actions: the same bytes. `snapshot`, `restore` and `fork` branch an episode without replaying it.

    Args:
        task: Play this task in every episode: its id (`"test/17"`), a `Task`, or a task as a dict. By default, each
            reset draws a task from the split with the environment's generator.
        split: `train` or `test`.
        dialect: How calls stand in text: `openai`, `hermes` or `json`.
        reward: Name of a preset (`default`, `outcome`, `progress`, `paper-hard`, `paper-soft`), a `RewardSpec`, or its
            fields as a dict.
        max_turns: Turn budget instead of the task's own.
        render_mode: `None` or `"ansi"`: `render()` gives the conversation as text.

    Raises:
        UsageError: An argument that cannot be, or `step` without `reset`.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  Gymnasium's attribute

    env_id: ClassVar[str] = ""
    """Set by subclasses: the registered id, such as `tir_gym/Assistant-v0`."""
    gold_withheld: bool = False
    """Whether `info` lacks `oracle` and `match`, as where an environment elsewhere keeps them to itself."""

    def __init__(
        self,
        *,
        task: str | Task | Mapping[str, Any] | None = None,
        split: Split = "train",
        dialect: str = "openai",
        reward: str | Mapping[str, Any] | RewardSpec = "default",
        max_turns: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
        if render_mode not in (None, "ansi"):
            raise UsageError(f"no render mode {render_mode!r}; choose 'ansi' or None")
        if max_turns is not None and (not isinstance(max_turns, int) or max_turns < 1):
            raise UsageError(f"max_turns={max_turns!r}: give a whole number of at least 1")
        self.action_space = ActionSpace()
        self.observation_space = ObservationSpace()
        self.render_mode = render_mode
        self.split: Split = split
        self.dialect = get_dialect(dialect)
        self.reward = get_reward(reward)
        self.max_turns = max_turns
        self._fixed = self._as_task(task)
        self._episode: RunningEpisode | None = None

    # What a family says.

    @abstractmethod
    def make_task(self, split: Split, number: int) -> Task:
        """The task with that number, `0 <= number < 2**31`: always the same one, its gold verified by execution."""

    @abstractmethod
    def make_sandbox(self, task: Task) -> Sandbox:
        """A started sandbox in the task's initial state."""

    def task_named(self, name: str) -> Task:
        """The task with that id; ids are `SPLIT/NUMBER` unless a family has names of its own.

        Raises:
            UsageError: No such task.
        """
        split, _, number = name.partition("/")
        if split not in SPLITS or not number.isascii() or not number.isdigit() or int(number) >= 2**31:
            raise UsageError(f"no task {name!r} in {self.env_id}; task ids are train/N or test/N, 0 <= N < 2**31")
        return self.make_task("train" if split == "train" else "test", int(number))

    def draw_task(self) -> str:
        """Id of the next task, drawn with the environment's generator."""
        return f"{self.split}/{int(self.np_random.integers(2**31))}"

    def task_ids(self, n: int | None = None, first: int = 0) -> list[str]:
        """Ids of `n` tasks of the split, always the same ones; a data set gives all of its tasks for `None`.

        Args:
            n: How many; 100 where tasks are unbounded and none is said.
            first: Number of the first.
        """
        return [f"{self.split}/{number}" for number in range(first, first + (100 if n is None else n))]

    def prepare(self, task: str | Task) -> PreparedTask:
        """A task made ready to play, from those kept where its id is known; see `PreparedTask`.

        Raises:
            UsageError: No such task, or its gold trace cannot be replayed.
        """
        if isinstance(task, Task):
            if self._episode is not None and self._episode.prepared.task is task:
                return self._episode.prepared
            return PreparedTask(task, self.make_sandbox(task))
        return prepared_tasks.get((type(self), self.task_source(), task), lambda: self._made(task))

    def is_prepared(self, task: str) -> bool:
        """Whether the task with that id is kept ready to play, so that a reset to it costs next to nothing."""
        return (type(self), self.task_source(), task) in prepared_tasks

    def metrics(self, trace: Trace) -> dict[str, float]:
        """The family's own figures at the end of an episode; none by default.

        Args:
            trace: The episode. Whether it succeeded is not said yet where a `FigureCheck` depends on these figures.
        """
        return {}

    def user_turn_info(self, task: Task, stage: int) -> dict[str, Any]:
        """What the family adds to `info` whenever the user has spoken; nothing by default.

        Args:
            task: The task being played.
            stage: Replies of the user so far: 0 at reset.
        """
        return {}

    # The life of an episode.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seeds the environment's generator; the same seed gives the same task.
            options: `{"task": ...}` plays that task this once, as the constructor's `task` does for every episode.

        Raises:
            UsageError: Unknown option or task.
        """
        super().reset(seed=seed)
        options = options or {}
        if set(options) - {"task"}:
            raise UsageError(f"reset options {sorted(set(options) - {'task'})} are unknown; there is only 'task'")
        chosen = self._as_task(options["task"]) if options.get("task") is not None else self._fixed
        prepared = self.prepare(chosen if chosen is not None else self.draw_task())
        self._close_episode()
        limits = prepared.task.limits
        self._episode = RunningEpisode(
            prepared=prepared,
            sandbox=prepared.fresh_sandbox(),
            credit=self._credit(prepared),
            seed=seed,
            max_turns=self.max_turns or limits.max_turns,
            deadline=None if limits.max_seconds is None else time.monotonic() + limits.max_seconds,
        )
        info = {"tools": list(prepared.openai_tools), "task_id": prepared.task.id, "oracle": prepared.oracle}
        info |= self.user_turn_info(prepared.task, 0)
        return copy.deepcopy(Observation(prepared.task.messages)), info

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one assistant message. See the class for what comes back.

        Raises:
            UsageError: No episode is running.
        """
        episode = self._episode
        if episode is None:
            raise UsageError("step() before reset(); call reset() first")
        if episode.ending is not None:
            raise UsageError(f"the episode has ended ({episode.ending}); call reset() to begin the next one")
        recorded, message = self._read(action)
        played = PlayedTurn(recorded, message.text)
        number = len(episode.turns)
        episode.turns.append(played)
        stage = episode.conversation.stage
        try:
            if message.items:
                self._run_calls(episode, message, played, number)
            else:
                self._talk(episode, message, played)
            if episode.ending is None:
                self._check_budgets(episode)
            outcome = self._outcome(episode) if episode.terminated else None
        except InfrastructureError as error:
            return self._fail(episode, error)
        limit = episode.prepared.task.limits.max_calls_per_turn
        seconds = episode.lap() if self.reward.seconds else 0.0
        event = TurnEvent.of(number, played, limit=limit, stage=stage, seconds=seconds)
        match = episode.credit.turn(event, last=episode.ending is not None, outcome=outcome)
        played.reward, played.parts = match.reward, match.parts
        info: dict[str, Any] = {"match": match}
        if not message.items and episode.conversation.stage != stage:
            info |= self.user_turn_info(episode.prepared.task, episode.conversation.stage)
        terminated = truncated = False
        if episode.ending is not None:
            try:
                self._conclude(episode, outcome, info)
            except InfrastructureError as error:  # of a family whose figures need a sandbox
                return self._fail(episode, error)
            terminated = episode.terminated
            truncated = not terminated
        return Observation(map(dict, played.observation)), match.reward, terminated, truncated, info

    def abort(self, kind: str, message: str) -> None:
        """End the running episode as an infrastructure failure, for a cause outside the environment."""
        episode = self._running()
        if episode.ending is None:
            episode.ending = "infra_error"
            episode.infra_error = {"kind": kind, "tool": None, "message": message}

    def truncate(self, ending: str) -> None:
        """End the running episode at a budget that the caller keeps, such as `max_tokens`; no success, else as usual.

        Args:
            ending: The word for it in the trace.
        """
        episode = self._running()
        if episode.ending is None:
            episode.ending = ending
            try:
                self._conclude(episode, None, {})
            except InfrastructureError as error:  # as in `step`
                episode.ending = None
                self.abort(error.kind, str(error))
                episode.success, episode.checks, episode.turn_rewards = None, {}, ()

    def render(self) -> str | None:
        """The conversation so far, in `ansi` mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() without a render mode; make the environment with render_mode='ansi'")
            return None
        if self._episode is None:
            raise UsageError("render() before reset(); call reset() first")
        return "\n".join(one_line(message) for message in self.conversation())

    def close(self) -> None:
        """Give back the sandbox. Safe to call twice."""
        self._close_episode()
        self._episode = None

    # Branching.

    def snapshot(self) -> Snapshot:
        """A picture of the episode; costs what the episode changed, not the size of its world.

        The generator that draws later tasks is no part of it, and time does not pass in it.
        """
        episode = self._running()
        return Snapshot(
            episode.copy(), episode.sandbox.snapshot(), episode.credit.snapshot(), type(self), time.monotonic()
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot taken of this environment, of a fork, or of another one of the same id and reward.

        Raises:
            UsageError: It was taken of another kind of environment, or under another reward.
        """
        if snapshot.env_type is not type(self) or snapshot.episode.credit.spec != self.reward:
            theirs, ours = (
                f"a {kind.__name__} with reward {spec.name!r}"
                for kind, spec in ((snapshot.env_type, snapshot.episode.credit.spec), (type(self), self.reward))
            )
            raise UsageError(f"the snapshot is of {theirs}, this is {ours}; restore it where both are the same")
        current = self._episode
        if current is not None and current.prepared is snapshot.episode.prepared:
            sandbox = current.sandbox
        else:
            self._close_episode()
            sandbox = snapshot.episode.prepared.fresh_sandbox()
        sandbox.restore(snapshot.sandbox)
        episode = snapshot.episode.copy()
        episode.pass_over(time.monotonic() - snapshot.taken)
        episode.sandbox = sandbox
        episode.credit = self._credit(episode.prepared)
        episode.credit.restore(snapshot.credit)
        self._episode = episode

    def fork(self) -> ToolEnv:
        """An independent environment in the same state; both can go on."""
        episode = self._running()
        twin = copy.copy(self)
        twin._np_random = copy.deepcopy(self._np_random)
        twin.action_space, twin.observation_space = ActionSpace(), ObservationSpace()
        twin._episode = episode.copy()
        twin._episode.sandbox = episode.sandbox.fork()
        twin._episode.credit = self._credit(episode.prepared)
        twin._episode.credit.restore(episode.credit.snapshot())
        return twin

    # Looking.

    @property
    def task(self) -> Task:
        """The task being played."""
        return self._running().prepared.task

    @property
    def sandbox(self) -> Sandbox:
        """Where the tools run; its `diff()` and `digest()` tell the state."""
        return self._running().sandbox

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """What the calls of the last turn gave back, in order."""
        turns = self._running().turns
        return turns[-1].results if turns else ()

    def conversation(self) -> list[Message]:
        """All messages so far, in OpenAI's form."""
        return self._running().messages()

    def trace(self, *, agent: str | None = None) -> Trace:
        """The episode so far as a record, for the store and for replay.

        Args:
            agent: Name to write into its provenance.
        """
        episode = self._running()
        kwargs = self.spec.kwargs if self.spec is not None else {}
        provenance = Provenance(
            env_id=self.spec.id if self.spec is not None else self.env_id,
            tir_gym=tir_gym.__version__,
            task_id=episode.prepared.task.id,
            seed=episode.seed,
            env_kwargs={key: _plain(value) for key, value in kwargs.items()},
            agent=agent,
        )
        return episode.trace(provenance)

    # The steps of a step.

    def _read(self, action: Any) -> tuple[Any, ParsedMessage]:
        """The action as it will be recorded, and read."""
        try:
            recorded = str.__str__(action) if isinstance(action, str) else freeze(action)
        except (TypeError, RecursionError):
            recorded = {"unreadable": repr(type(action))}
        return recorded, self.dialect.parse(recorded)

    def _run_calls(self, episode: RunningEpisode, message: ParsedMessage, played: PlayedTurn, number: int) -> None:
        limit = episode.prepared.task.limits.max_calls_per_turn
        calls = [item for item in message.items if not isinstance(item, Malformed)]
        if len(calls) < len(message.items):
            played.malformed = tuple([item.reason for item in message.items if isinstance(item, Malformed)])
        try:
            results = episode.sandbox.run_turn(calls[:limit])
        except InfrastructureError:
            raise
        except Exception as bug:
            log.exception("the sandbox broke on a turn of %s", episode.prepared.task.id)
            raise InfrastructureError(f"{type(bug).__name__}: {bug}", kind="sandbox_bug") from bug
        if len(calls) > limit:
            text = f"at most {limit} calls in one message; this one was not run"
            results += [ToolResult(error=text, error_kind="refused")] * (len(calls) - limit)
        played.calls, played.results = tuple(calls), tuple(results)
        played.observation = tool_messages(message.items, results, number)

    def _talk(self, episode: RunningEpisode, message: ParsedMessage, played: PlayedTurn) -> None:
        reply = None
        if not message.refusal:
            reply, episode.conversation = hear(episode.prepared.task.user, episode.conversation, message.text)
        if reply is None:
            episode.ending = "refusal" if message.refusal else "answer"
            return
        played.observation = ({"role": "user", "content": reply.text},)
        if episode.prepared.task.teacher_forced:
            episode.sandbox.restore(episode.prepared.stage_start(episode.conversation.stage))

    def _check_budgets(self, episode: RunningEpisode) -> None:
        if len(episode.turns) >= episode.max_turns:
            episode.ending = "max_turns"
        elif episode.deadline is not None and time.monotonic() >= episode.deadline:
            episode.ending = "max_seconds"

    def _outcome(self, episode: RunningEpisode) -> float:
        last = episode.turns[-1]
        if episode.prepared.figures:
            episode.metrics = self.metrics(self.trace())
            unknown = sorted(episode.prepared.figures - episode.metrics.keys())
            if unknown:
                known = ", ".join(episode.metrics) or "none"
                raise UsageError(f"a FigureCheck names {unknown}; the figures of {type(self).__name__} are: {known}")
        episode.checks = episode.prepared.evaluate(
            changes=episode.sandbox.diff(),
            answer=last.text,
            refused=episode.ending == "refusal",
            asked=episode.conversation.given,
            figures=episode.metrics,
        )
        episode.success = all(episode.checks.values())
        return read_outcome(self.reward.outcome_by, episode.checks, episode.prepared.declared, last.text)

    def _conclude(self, episode: RunningEpisode, outcome: float | None, info: dict[str, Any]) -> None:
        if episode.success is None:
            episode.success = False  # a budget ran out before the agent said that it was done
        episode.turn_rewards = episode.credit.hindsight(len(episode.turns), outcome)
        # A trace is worth making only for a family that reads it.
        if not episode.metrics and type(self).metrics is not ToolEnv.metrics:
            episode.metrics = self.metrics(self.trace())
        info["success"] = episode.success
        info["checks"] = dict(episode.checks)
        info["turn_rewards"] = episode.turn_rewards
        info["ending"] = episode.ending
        if episode.metrics:
            info["metrics"] = dict(episode.metrics)

    def _fail(
        self, episode: RunningEpisode, error: InfrastructureError
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        episode.ending = "infra_error"
        episode.infra_error = {"kind": error.kind, "tool": error.tool, "message": str(error)}
        played = episode.turns[-1]
        played.calls = played.results = played.observation = ()
        played.reward, played.parts = 0.0, {}
        episode.success, episode.checks, episode.turn_rewards = None, {}, ()
        return Observation(), 0.0, False, True, {"infra_error": dict(episode.infra_error), "ending": episode.ending}

    # Tasks and episodes.

    def _as_task(self, task: str | Task | Mapping[str, Any] | None) -> str | Task | None:
        if isinstance(task, Mapping):
            return Task.model_validate(task)
        if task is not None and not isinstance(task, (str, Task)):
            raise UsageError(f"task={task!r}: give a task id, a Task, or a task as a dict")
        return task

    def task_source(self) -> Any:
        """What the family's tasks depend on besides their ids, hashable; part of the key under which they are kept."""
        return None

    def _made(self, name: str) -> PreparedTask:
        task = self.task_named(name)
        return PreparedTask(task, self.make_sandbox(task))

    def _credit(self, prepared: PreparedTask) -> Credit:
        return Credit(self.reward, prepared.sides, teacher_forced=prepared.task.teacher_forced)

    def _running(self) -> RunningEpisode:
        if self._episode is None:
            raise UsageError("no episode is running; call reset() first")
        return self._episode

    def _close_episode(self) -> None:
        if self._episode is not None:
            self._episode.sandbox.close()


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
