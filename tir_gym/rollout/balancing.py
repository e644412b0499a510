"""Several places that sample, as one policy: a rollout stays where it is, a new one goes where least is under way.

Staying keeps the cache of the turns before. A place that breaks leaves: the rollouts that it had fail as infrastructure
and are begun again elsewhere, by whoever schedules them. It is asked again after a while, by one rollout at first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.rollout.policy import Policy, SamplingParams, TokenOutput

_log = logging.getLogger(__name__)


class Balanced:
    """A `Policy` over several.

    Their outputs keep the weight versions that they come with, so a place that lags behind shows in the record.

    Args:
        policies: Of the same model; such as one `ServerEngine` for each server.
        rest_seconds: How long a place that broke is left alone.
        clock: Seconds that only grow.

    Raises:
        UsageError: There are none.
    """

    def __init__(
        self, policies: Sequence[Policy], *, rest_seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not policies:
            raise UsageError("no policies to balance between; give at least one")
        self._places = [_Place(policy) for policy in policies]
        self._of_key: dict[str, _Place] = {}
        self._rest_seconds = rest_seconds
        self._clock = clock

    @property
    def loads(self) -> list[int]:
        """Of each place, the rollouts that stay there and the turns without a key that are under way."""
        return [place.load for place in self._places]

    async def generate(
        self, prompt_ids: Sequence[int] | NDArray[np.int32], params: SamplingParams, *, key: str | None = None
    ) -> TokenOutput:
        """Sample one turn where the rollout is, or where least is under way. As `Policy.generate`.

        Raises:
            InfrastructureError: The place where the rollout was broke, or all are broken.
        """
        place = self._place(key)
        try:
            output = await place.policy.generate(prompt_ids, params, key=key)
        except InfrastructureError as error:
            self._leave(place, error)
            raise
        finally:
            if key is None:
                place.load -= 1
        place.rests_until = None
        return output

    def release(self, key: str) -> None:
        """See `Policy.release`."""
        place = self._of_key.pop(key, None)
        if place is not None:
            place.load -= 1
            place.policy.release(key)

    def _place(self, key: str | None) -> _Place:
        place = None if key is None else self._of_key.get(key)
        if place is not None:
            return place
        now = self._clock()
        place = min(self._places, key=lambda place: (not place.ready(now), place.load))
        if not place.ready(now):
            raise InfrastructureError(f"all of {len(self._places)} policies are broken", kind="policies_broken")
        if place.rests_until is not None:
            place.rests_until = now + self._rest_seconds  # one rollout finds out whether it is there again
        place.load += 1
        if key is not None:
            self._of_key[key] = place
        return place

    def _leave(self, place: _Place, error: InfrastructureError) -> None:
        if place.rests_until is None:
            _log.warning("a policy broke and is left alone for %g s: %s", self._rest_seconds, error)
        place.rests_until = self._clock() + self._rest_seconds


class _Place:
    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.load = 0
        self.rests_until: float | None = None
        """`None` where it works."""

    def ready(self, now: float) -> bool:
        return self.rests_until is None or now >= self.rests_until
