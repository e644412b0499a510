"""An environment that runs at a server, `tir-gym serve`: the client, an ordinary environment for whoever uses it.

The same seed and actions give the same observations, rewards and infos as where it runs, but for gold and matching,
which the server keeps unless told otherwise. Steps, snapshots and forks happen there. Needs the extra `server`.
"""

from __future__ import annotations

import copy
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import gymnasium
from pydantic import ValidationError

import tir_gym
from tir_gym.dialects import get_dialect
from tir_gym.env import Action, Split, ToolEnv
from tir_gym.envs.remote.connection import Connection
from tir_gym.envs.remote.gold import RemoteOracle
from tir_gym.envs.remote.session import RemoteSession
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.messages import Observation
from tir_gym.prepared import PreparedTask
from tir_gym.records import GoldTrace, Message, Provenance, Task, ToolResult, ToolSpec, Trace
from tir_gym.rewards import get_reward
from tir_gym.running import PlayedTurn
from tir_gym.sandbox import Sandbox

_HERE = ("split", "dialect", "reward", "max_turns", "render_mode")
"""Options that the client checks itself before it asks a server for anything."""
_IDS = 10_000
"""Ids of tasks that a server gives at a time."""


@dataclass
class _Episode:
    """What the client knows of the episode, for when the server cannot be asked."""

    task: Task
    seed: int | None
    turns: tuple[PlayedTurn, ...] = ()
    ending: str | None = None
    infra_error: dict[str, Any] | None = None


@dataclass(frozen=True)
class RemoteSnapshot:
    """A picture that the server keeps, for as long as this is held or the session lives."""

    token: str
    episode: _Episode = field(repr=False)


class RemoteEnv(ToolEnv):
    """A `ToolEnv` at a server; see there for actions, observations, rewards and infos.

    When the server is lost during an episode, `step` gives an infrastructure failure as for any other sandbox that
    breaks: reward 0.0, `truncated=True`, `info["infra_error"]` with kind `server_lost`, `session_lost` or
    `server_timeout`. A connection that drops is made again, and no call is run twice.

    Args:
        url: The server's, such as `http://127.0.0.1:8765`.
        env_id: One of the server's environments; may be left out where it has only one.
        token: What the server wants to see; `$TIR_GYM_TOKEN` by default. Not written into traces.
        timeout: Seconds to wait for the reply to one request.
        patience: Seconds for which a broken connection is tried again.
        options: Of the environment: `task` (an id), `split`, `dialect`, `reward`, `max_turns`, `render_mode`, and what
            the server lets clients choose besides. What is left out is as the server has it.

    Raises:
        UsageError: Something that cannot be.
        InfrastructureError: No server, or it does not let this client in.
    """

    env_id = "tir_gym/Remote-v0"

    def __init__(
        self,
        *,
        url: str | None = None,
        env_id: str | None = None,
        token: str | None = None,
        timeout: float = 300.0,
        patience: float = 10.0,
        **options: Any,
    ) -> None:
        if url is None:
            raise UsageError("url is missing: the address of a server that `tir-gym serve` has started")
        task = options.get("task")
        if task is not None and not isinstance(task, str):
            raise UsageError("task: a server plays its own tasks, so give the id of one")
        super().__init__(**{name: options[name] for name in _HERE if name in options})
        if "reward" in options:
            options["reward"] = self.reward.model_dump()
        self._options = options
        self._remote_id = env_id
        self._token = token if token is not None else os.environ.get("TIR_GYM_TOKEN") or None
        self._terms = (url, self._token, timeout)
        self._patience = patience
        self._shown: _Episode | None = None
        self._drawing = "any"
        """Where later tasks come from: `any` before a seed, `server` once seeded there, `lost` with the session."""
        self._dropped: list[str] = []
        self._session = self._open()

    def make_task(self, split: Split, number: int) -> Task:
        return self.task_named(f"{split}/{number}")

    def make_sandbox(self, task: Task) -> Sandbox:
        return self._elsewhere("the sandbox")

    def prepare(self, task: str | Task) -> PreparedTask:
        return self._elsewhere("the gold trace")

    def task_named(self, name: str) -> Task:
        """What an agent would see of the task with that id; its gold is empty."""
        return _public_task(self._session.ask("task", task=name))

    def task_ids(self, n: int | None = None, first: int = 0) -> list[str]:
        if n is None:
            return list(self._session.ask("tasks", n=None, first=first)["tasks"])
        ids: list[str] = []
        for start in range(first, first + n, _IDS):
            ids += self._session.ask("tasks", n=min(_IDS, first + n - start), first=start)["tasks"]
        return ids

    # The life of an episode.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As `ToolEnv.reset`; a session that is gone or out of step is opened afresh where that makes no difference.

        Raises:
            UsageError: Unknown option or task.
            InfrastructureError: The server is lost; or the session is, and with it the generator that would draw the
                next task: give a seed or a task.
        """
        gymnasium.Env.reset(self, seed=seed)
        options = options or {}
        if set(options) - {"task"}:
            raise UsageError(f"reset options {sorted(set(options) - {'task'})} are unknown; there is only 'task'")
        task = options.get("task")
        if task is not None and not isinstance(task, str):
            raise UsageError("options['task']: a server plays its own tasks, so give the id of one")
        self._shown = None
        try:
            self._let_go()
            result = self._session.ask("reset", seed=seed, task=task)
        except InfrastructureError as error:
            if error.kind not in ("session_lost", "server_timeout", "server_bug"):
                raise
            if self._drawing != "any":
                self._drawing = "lost"
            self._session.close()
            self._session = self._open()
            if self._drawing == "lost" and seed is None and task is None and self._options.get("task") is None:
                raise
            result = self._session.ask("reset", seed=seed, task=task)
        if seed is not None:
            self._drawing = "server"
        info = result["info"]
        if "oracle" in info:
            info["oracle"] = RemoteOracle(info["oracle"])
        public = {"id": info["task_id"], "messages": result["observation"], "tools": info["tools"]}
        self._shown = _Episode(_public_task({**public, "tags": result["tags"]}), seed)
        return Observation(result["observation"]), info

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        episode = self._shown
        if episode is None:
            raise UsageError("step() before reset(); call reset() first")
        if episode.ending is not None:
            raise UsageError(f"the episode has ended ({episode.ending}); call reset() to begin the next one")
        recorded, message = self._read(action)
        try:
            self._let_go()
            result = self._session.ask("step", action=recorded)
        except InfrastructureError as error:
            episode.turns += (PlayedTurn(recorded, message.text),)
            return self._lost(episode, error)
        observation, info = Observation(result["observation"]), result["info"]
        if "turn_rewards" in info:
            info["turn_rewards"] = tuple(info["turn_rewards"])
        episode.turns += (PlayedTurn(recorded, message.text, observation=observation, reward=result["reward"]),)
        episode.ending = info.get("ending")
        episode.infra_error = info.get("infra_error")
        return observation, result["reward"], result["terminated"], result["truncated"], info

    def abort(self, kind: str, message: str) -> None:
        episode = self._known()
        if episode.ending is None:
            episode.ending, episode.infra_error = "infra_error", {"kind": kind, "tool": None, "message": message}

    def truncate(self, ending: str) -> None:
        episode = self._known()
        if episode.ending is None:
            try:
                self._session.ask("truncate", ending=ending)
                episode.ending = ending
            except InfrastructureError as error:
                self._lost(episode, error)

    def render(self) -> str | None:
        if self.render_mode is None:
            return super().render()
        if self._shown is None:
            raise UsageError("render() before reset(); call reset() first")
        text: str | None = self._session.ask("render")["text"]
        return text

    def close(self) -> None:
        """End the session. Safe to call twice."""
        self._shown = None
        if hasattr(self, "_session"):
            self._session.close()

    # Branching.

    def snapshot(self) -> RemoteSnapshot:  # type: ignore[override]  # opaque, as the other is
        """A picture that the server keeps. Raises as `step` does not: `InfrastructureError` if the server is lost."""
        episode = self._known()
        self._let_go()
        taken = RemoteSnapshot(self._session.ask("snapshot")["snapshot"], copy.copy(episode))
        # A finalizer may run anywhere, so it only notes what the next request tells.
        weakref.finalize(taken, self._dropped.append, taken.token)
        return taken

    def restore(self, snapshot: RemoteSnapshot) -> None:  # type: ignore[override]
        """Go back to a picture taken of this environment, of a fork, or of another one at the same server."""
        if not isinstance(snapshot, RemoteSnapshot):
            raise UsageError(f"the snapshot is a {type(snapshot).__name__}; restore one that it has taken")
        self._session.ask("restore", snapshot=snapshot.token)
        self._shown = copy.copy(snapshot.episode)

    def fork(self) -> RemoteEnv:
        episode = self._known()
        twin = copy.copy(self)
        twin._np_random = copy.deepcopy(self._np_random)
        twin.action_space, twin.observation_space = type(self.action_space)(), type(self.observation_space)()
        twin._dropped = []
        twin._session = self._session.branch(self._session.ask("fork"), Connection(*self._terms))
        twin._shown = copy.copy(episode)
        return twin

    # Looking.

    @property
    def task(self) -> Task:
        """What the agent sees of the task being played; its gold is empty."""
        return self._known().task

    @property
    def sandbox(self) -> Sandbox:
        return self._elsewhere("the sandbox")

    @property
    def results(self) -> tuple[ToolResult, ...]:
        turns = self.trace().turns
        return turns[-1].results if turns else ()

    def conversation(self) -> list[Message]:
        trace = self.trace()
        messages = [dict(message) for message in trace.messages]
        for turn in trace.turns:
            ids = [message["tool_call_id"] for message in turn.observation if "name" in message]
            calls = [call.model_copy(update={"id": id}) for call, id in zip(turn.calls, ids, strict=False)]
            messages.append(get_dialect("openai").render(turn.text, calls))  # type: ignore[arg-type]
            messages.extend(dict(message) for message in turn.observation)
        return messages

    def trace(self, *, agent: str | None = None) -> Trace:
        """The episode so far as a record; without matches and parts of rewards where the server keeps them.

        After the server is lost it holds what the client knows: messages and rewards, no results of calls.
        """
        episode = self._known()
        kwargs = dict(self.spec.kwargs) if self.spec is not None else {}
        kwargs.pop("token", None)
        provenance = Provenance(
            env_id=self.spec.id if self.spec is not None else self.env_id,
            tir_gym=tir_gym.__version__,
            task_id=episode.task.id,
            seed=episode.seed,
            env_kwargs={key: _plain(value) for key, value in kwargs.items()},
            agent=agent,
        )
        if episode.infra_error is None:
            try:
                data = self._session.ask("trace")["trace"]
                return Trace.model_validate({**data, "provenance": provenance})
            except InfrastructureError as error:
                self._lost(episode, error)
        return Trace(
            provenance=provenance,
            messages=episode.task.messages,
            tools=episode.task.tools,
            turns=tuple(turn.record() for turn in episode.turns),
            truncated=True,
            ending=episode.ending,
            infra_error=episode.infra_error,
        )

    # The server.

    def _open(self) -> RemoteSession:
        session = RemoteSession(Connection(*self._terms), self._patience)
        created = session.create(self._remote_id, self._options)
        self.dialect = get_dialect(created["dialect"])
        self.reward = get_reward(created["reward"])
        self.split, self.max_turns = created["split"], created["max_turns"]
        self.gold_withheld = not created["gold"]
        return session

    def _let_go(self) -> None:
        """Tell the server of snapshots that nobody holds any more."""
        if self._dropped:
            dropped = [self._dropped.pop() for _ in range(len(self._dropped))]
            self._session.ask("forget", snapshots=dropped)

    def _lost(
        self, episode: _Episode, error: InfrastructureError
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        episode.ending = "infra_error"
        episode.infra_error = {"kind": error.kind, "tool": error.tool, "message": str(error)}
        return Observation(), 0.0, False, True, {"infra_error": dict(episode.infra_error), "ending": episode.ending}

    def _known(self) -> _Episode:
        if self._shown is None:
            raise UsageError("no episode is running; call reset() first")
        return self._shown

    def _elsewhere(self, what: str) -> NoReturn:
        raise UsageError(f"{what} is at the server {self._terms[0]}; make the environment here to have it")


def _public_task(data: Mapping[str, Any]) -> Task:
    try:
        return Task(
            id=data["id"],
            messages=tuple(copy.deepcopy(data["messages"])),
            tools=tuple(ToolSpec.from_openai(tool) for tool in data["tools"]),
            gold=GoldTrace(),
            tags=tuple(data["tags"]),
        )
    except ValidationError as error:
        raise InfrastructureError(f"the server's task cannot be read: {error}", kind="server_bug") from error


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
