"""Who acts: policies by name, from the oracle to a language model behind an endpoint. The protocol is in
`tir_gym/agent.py`.

    from tir_gym.agents import make_agent

    agent = make_agent("llm:qwen3-8b@http://localhost:8000/v1", temperature=0.0)
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tir_gym.agent import Agent, AgentFailure
from tir_gym.agents.probes import PROBE_TYPES
from tir_gym.agents.probing import (
    PROBE_BOUND,
    PROBED_GOLD_CALLS,
    ProbedTask,
    measure_probes,
    oracle_return,
    probe_tasks,
)
from tir_gym.errors import UsageError

PROBES: tuple[str, ...] = tuple(PROBE_TYPES)
"""Names of the reward-hacking probes, for `make_agent(f"probe:{name}")`."""


@dataclass(frozen=True)
class AgentKind:
    """A kind of agent: what to write for it, and what it is."""

    form: str
    """How to write it, such as `noisy:P`."""
    summary: str
    """One line for lists."""
    make: Callable[[str, dict[str, Any]], Agent]
    """From what stands after the colon, and the options."""

    @property
    def takes_parameter(self) -> bool:
        return ":" in self.form


def make_agent(name: str, **options: Any) -> Agent:
    """The agent of that name.

    Args:
        name: One of the forms of `AGENTS`: `oracle`, `random`, `noisy:P`, `probe:NAME`, `llm:MODEL@BASE_URL`,
            `policy:FOLDER`, `human`, `python:MODULE:CLASS`.
        options: Keyword arguments of that agent's class, such as `temperature` for `llm`.

    Raises:
        UsageError: No such agent, a parameter of another form, or an option that the agent does not have.
    """
    head, colon, parameter = name.partition(":")
    kind = AGENTS.get(head)
    if kind is None:
        forms = [kind.form for kind in AGENTS.values()]
        # A probe's name alone is a likely slip.
        near = [f"probe:{head}"] if head in PROBES else difflib.get_close_matches(head, AGENTS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"no agent {name!r}; {hint}there are: {', '.join(forms)}")
    if kind.takes_parameter and not parameter:
        raise UsageError(f"agent {name!r} needs a parameter; write {kind.form}")
    if colon and not kind.takes_parameter:
        raise UsageError(f"agent {name!r} takes no parameter; write {kind.form}")
    return kind.make(parameter, options)


def _plain(module: str, class_name: str) -> Callable[[str, dict[str, Any]], Agent]:
    """Makes agents of a class whose constructor takes the options only."""

    def make(_: str, options: dict[str, Any]) -> Agent:
        return _made(_load(module, class_name), (), options)

    return make


def _noisy(parameter: str, options: dict[str, Any]) -> Agent:
    try:
        noise = float(parameter)
    except ValueError:
        raise UsageError(f"noisy:{parameter}: write noisy:P with a probability P, such as noisy:0.3") from None
    return _made(_load("noisy", "NoisyAgent"), (noise,), options)


def _probe(parameter: str, options: dict[str, Any]) -> Agent:
    if parameter not in PROBE_TYPES:
        near = difflib.get_close_matches(parameter, PROBES, n=1)
        hint = f"did you mean probe:{near[0]}? " if near else ""
        raise UsageError(f"no probe {parameter!r}; {hint}there are: {', '.join(PROBES)}")
    return _made(PROBE_TYPES[parameter], (), options)


def _llm(parameter: str, options: dict[str, Any]) -> Agent:
    return _made(_load("llm", "LLMAgent"), (parameter,), options)


def _policy(parameter: str, options: dict[str, Any]) -> Agent:
    return _made(_load("local_policy", "LocalPolicyAgent"), (parameter,), options)


def _ppo(parameter: str, options: dict[str, Any]) -> Agent:
    return _made(_load("ppo.agent", "PPOAgent"), (parameter,), options)


def _python(parameter: str, options: dict[str, Any]) -> Agent:
    from tir_gym.agents.user_class import load_agent

    return load_agent(parameter, options)


AGENTS: dict[str, AgentKind] = {
    "oracle": AgentKind("oracle", "plays the gold trace", _plain("oracle", "OracleAgent")),
    "random": AgentKind("random", "valid random calls", _plain("random_agent", "RandomAgent")),
    "noisy": AgentKind("noisy:P", "the oracle with faults, each call with probability P", _noisy),
    "probe": AgentKind("probe:NAME", f"a reward-hacking probe: {', '.join(PROBES)}", _probe),
    "llm": AgentKind("llm:MODEL@BASE_URL", "a model behind an OpenAI-compatible endpoint", _llm),
    "policy": AgentKind("policy:FOLDER", "a language model in this process, as trained here", _policy),
    "ppo": AgentKind("ppo:DIR", "what `tir-gym train-ppo` has trained, without a language model", _ppo),
    "human": AgentKind("human", "you, at the terminal", _plain("human", "HumanAgent")),
    "python": AgentKind("python:MODULE:CLASS", "your own class, from a module or a FILE.py", _python),
}
"""The kinds of agents, by what stands before the colon."""


def _load(module: str, class_name: str) -> Callable[..., Agent]:
    return getattr(import_module(f"tir_gym.agents.{module}"), class_name)  # type: ignore[no-any-return]


def _made(make: Callable[..., Agent], arguments: tuple[Any, ...], options: dict[str, Any]) -> Agent:
    known = list(inspect.signature(make).parameters)[len(arguments) :]
    unknown = sorted(set(options) - set(known))
    if unknown:
        has = f"its options are: {', '.join(known)}" if known else "it has none"
        raise UsageError(f"agent option {', '.join(unknown)} is unknown; {has}")
    return make(*arguments, **options)


__all__ = [
    "AGENTS",
    "PROBED_GOLD_CALLS",
    "PROBES",
    "PROBE_BOUND",
    "Agent",
    "AgentFailure",
    "AgentKind",
    "ProbedTask",
    "make_agent",
    "measure_probes",
    "oracle_return",
    "probe_tasks",
]
