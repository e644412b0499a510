"""Play a recorded episode again and see whether every byte comes out the same.

A trace is its own test: it holds the actions and all that they led to. Replaying it needs the environment that its
provenance names, and neither the agent nor a network. What a trace cannot promise is an ending by wall-clock time,
and a fault from outside the environment, which is taken over as recorded.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import tir_gym
from tir_gym.env import ToolEnv
from tir_gym.errors import UsageError
from tir_gym.making import is_registered, make_env
from tir_gym.records import Trace
from tir_gym.rewards import Match


@dataclass(frozen=True)
class Difference:
    """The first place where the replayed trace is not the recorded one."""

    path: str
    """Such as `turns/2/observation/0/content`."""
    turn: int | None
    """Index of the turn that it belongs to, `None` for a difference before or after the turns."""
    recorded: Any
    """JSON value in the recorded trace; `None` also where it has none."""
    replayed: Any
    """Likewise in the replayed one."""
    text: str
    """Two lines: what was recorded, and what came out."""


@dataclass(frozen=True)
class Replay:
    """What came of playing a trace again."""

    trace: Trace
    """As replayed, with the recorded provenance, so that equal episodes are equal bytes."""
    difference: Difference | None
    """`None` when the canonical bytes are equal."""
    recorded_version: str
    """Version of this package that recorded the trace."""
    replayed_version: str
    matches: tuple[Match, ...] = field(repr=False, default=())
    """How each replayed turn was paid; a turn that the infrastructure cut short has none."""

    @property
    def same(self) -> bool:
        return self.difference is None

    @property
    def versions_differ(self) -> bool:
        return self.recorded_version != self.replayed_version


def env_of(trace: Trace, *, env_id: str | None = None, **options: Any) -> ToolEnv:
    """The environment that a trace was recorded in.

    Args:
        trace: Its provenance says id and options.
        env_id: Use this environment instead of the one that the trace names.
        options: Options instead of the recorded ones, such as a `data_dir` that lies elsewhere here.

    Raises:
        UsageError: The trace names an environment that is not registered, or a place to connect to. A trace is data
            from anywhere, so it may neither choose a module to import nor who is sent this machine's token; `env_id`
            and `options` may.
    """
    recorded = trace.provenance
    if env_id is None and not is_registered(recorded.env_id):
        raise UsageError(
            f"the trace names environment {recorded.env_id!r}, which is not registered here; "
            "if you trust that code, name it yourself (--env)"
        )
    place = elsewhere(trace, options)
    if place is not None:
        value = recorded.env_kwargs[place]
        raise UsageError(
            f"the environment of the trace is elsewhere: option {place!r} is {_window(_canonical(value), 0)}; "
            "a trace may not choose what this machine connects to, so if you trust that place, "
            f"name it yourself (--env-arg {place}=...)"
        )
    return make_env(env_id or recorded.env_id, **{**recorded.env_kwargs, **options})


def elsewhere(trace: Trace, given: Collection[str] = ()) -> str | None:
    """The option by which a trace's environment is elsewhere, such as `url`; `None` where it is in this process.

    Args:
        trace: Its provenance has the options.
        given: Those that will be others than the recorded ones.
    """
    return next(
        (
            name
            for name, value in trace.provenance.env_kwargs.items()
            if name not in given and name not in _NO_PLACES and _leads_elsewhere(value)
        ),
        None,
    )


def replay_trace(trace: Trace, env: ToolEnv | None = None) -> Replay:
    """Play the actions of a trace again, up to the first turn that comes out otherwise.

    Args:
        trace: A finished episode, or the beginning of one.
        env: Where to play it; by default, one made as its provenance says.

    Raises:
        UsageError: The environment cannot be made, or has no such task.
    """
    own = env is None
    env = env_of(trace) if env is None else env
    try:
        matches = _play(trace, env)
        replayed = env.trace(agent=trace.provenance.agent)
    finally:
        if own:
            env.close()
    replayed = replayed.model_copy(update={"provenance": trace.provenance})
    difference = None
    if replayed.canonical() != trace.canonical():
        difference = next(_differences(_data(trace), _data(replayed), ()))
    return Replay(
        trace=replayed,
        difference=difference,
        recorded_version=trace.provenance.tir_gym,
        replayed_version=tir_gym.__version__,
        matches=tuple(matches),
    )


def _play(trace: Trace, env: ToolEnv) -> list[Match]:
    recorded = trace.provenance
    given = recorded.env_kwargs.get("task")
    whole_task = isinstance(given, dict) and given.get("id") == recorded.task_id
    env.reset(seed=recorded.seed, options=None if whole_task else {"task": recorded.task_id})
    matches: list[Match] = []
    for turn in trace.turns:
        observation, reward, terminated, truncated, info = env.step(turn.action)
        if "match" in info:
            matches.append(info["match"])
        if terminated or truncated or observation != turn.observation or reward != turn.reward:
            break
    failure = trace.infra_error
    if failure is not None and failure.get("tool") is None and env.trace().ending is None:
        # The failure came from outside (an agent whose endpoint died): no action of the trace can bring it about.
        env.abort(str(failure.get("kind")), str(failure.get("message")))
    elif trace.truncated and trace.ending not in _OWN_BUDGETS and env.trace().ending is None:
        env.truncate(str(trace.ending))  # a budget of whoever played it
    return matches


def _data(trace: Trace) -> Any:
    """The trace as lists and dicts, fields in their own order."""
    return json.loads(json.dumps(trace.model_dump()))


def _differences(recorded: Any, replayed: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    """All places where two JSON values differ, in the order in which an episode makes them."""
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        for key in [*recorded, *(key for key in replayed if key not in recorded)]:
            yield from _differences(recorded.get(key, _ABSENT), replayed.get(key, _ABSENT), (*path, key))
    elif isinstance(recorded, list) and isinstance(replayed, list):
        for i in range(max(len(recorded), len(replayed))):
            ours = recorded[i] if i < len(recorded) else _ABSENT
            theirs = replayed[i] if i < len(replayed) else _ABSENT
            yield from _differences(ours, theirs, (*path, str(i)))
    elif _canonical(recorded) != _canonical(replayed):
        ours, theirs = _windows(_canonical(recorded), _canonical(replayed))
        place = "/".join(path)
        yield Difference(
            path=place,
            turn=int(path[1]) if path[0] == "turns" and len(path) > 1 else None,
            recorded=None if recorded is _ABSENT else recorded,
            replayed=None if replayed is _ABSENT else replayed,
            text=f"recorded {place}: {ours}\nreplayed {place}: {theirs}",
        )


_NO_PLACES = ("task", "reward")
"""Options that no environment connects to, whatever addresses stand in the words of a task."""


def _leads_elsewhere(value: Any) -> bool:
    return "://" in json.dumps(value, default=str)


_OWN_BUDGETS = ("max_turns", "max_seconds", "infra_error")
"""Endings that an environment comes to by itself."""
_ABSENT = object()
_WINDOW = 240
"""Characters shown of a long value, around the first one that differs."""


def _canonical(value: Any) -> str:
    return "nothing" if value is _ABSENT else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _windows(ours: str, theirs: str) -> tuple[str, str]:
    """Both texts, cut to where they begin to differ."""
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    start = max(0, same - _WINDOW // 2)
    return _window(ours, start), _window(theirs, start)


def _window(text: str, start: int) -> str:
    end = start + _WINDOW
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
