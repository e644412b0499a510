"""Right calls made wrong: other values of the right kind, by the comparators that the task's tools declare."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from tir_gym.agents.sampling import Sampler
from tir_gym.compare import comparator
from tir_gym.oracle import Oracle
from tir_gym.records import ToolCall


class WrongValues:
    """Makes arguments wrong. A wrong value is right in no gold call of the tool, not by chance either; it fits the
    tool's schema where a wrong one can, so that the call may well run.

    Args:
        rng: Where the randomness comes from.
        oracle: The gold trace.
    """

    def __init__(self, rng: random.Random, oracle: Oracle) -> None:
        self._rng = rng
        self._sampler = Sampler(rng, reuse=0.9)
        self._specs = {spec.name: spec for spec in oracle.task.tools}
        self._gold = oracle.calls

    def one(self, call: ToolCall) -> ToolCall | None:
        """The call with one argument wrong; `None` where it has no argument."""
        return self._with_wrong(call, [self._rng.choice(list(call.arguments))], ()) if call.arguments else None

    def all(self, call: ToolCall, seen: Iterable[Any] = ()) -> ToolCall | None:
        """The call with every argument wrong; `None` where it has no argument.

        Args:
            call: A right call.
            seen: Values to take where they fit and are wrong: a wrong id that exists gets further than one that
                does not.
        """
        return self._with_wrong(call, call.arguments, seen) if call.arguments else None

    def _with_wrong(self, call: ToolCall, names: Iterable[str], seen: Iterable[Any]) -> ToolCall:
        seen = list(seen)
        return ToolCall(call.name, {**call.arguments, **{name: self._wrong(call.name, name, seen) for name in names}})

    def _wrong(self, tool: str, name: str, seen: Iterable[Any]) -> Any:
        spec = self._specs[tool]
        same = comparator(spec.comparators.get(name, "exact"))
        rights = [gold.arguments[name] for gold in self._gold if gold.name == tool and name in gold.arguments]
        schema = spec.parameters.get("properties", {}).get(name, {})
        return self._sampler.other_value(schema, lambda value: not any(same(value, right) for right in rights), seen)
