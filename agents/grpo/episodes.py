"""A share of a run's rollouts as episodes in the trace store, where the viewer and the reports find them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tir_gym.agents.grpo.config import GrpoConfig
from tir_gym.rollout import Finished

if TYPE_CHECKING:
    from tir_gym.store import Run, Store


class EpisodeLog:
    """Whole groups of rollouts: the repeats of one task, so the advantages of their turns can be looked at.

    A folder's episodes are one run of the store, under the folder's own name. Where another run has that name, in a
    store that several share, there is a number behind it.

    Args:
        config: The run of training; its `log.groups` is above 0.
        resume: Go on with the run that this folder began. Without it, or where there is none, another one is begun.
        stack: Closes the store.

    Raises:
        UsageError: The store cannot be opened, or its run is of other tasks or another policy.
    """

    def __init__(self, config: GrpoConfig, resume: bool, stack: AsyncExitStack) -> None:
        from tir_gym.store import open_store

        store = stack.enter_context(open_store(config.log.store or Path(config.out) / "rollouts.db"))
        self._run = _run_of(store, config, resume)
        self._share = config.log.groups
        self._seed = config.seed
        self._done = self._run.done()

    def record(self, finished: Sequence[Finished], step: int) -> None:
        """Store the groups of a step that are drawn; what a resumed run plays again is there already."""
        for one in finished:
            group = one.trajectory.group_id
            drawn = random.Random(f"store/{self._seed}/{group}").random() < self._share
            place = (one.trajectory.task_id, one.request.sample)
            if drawn and one.episode is not None and place not in self._done:
                self._done.add(place)
                self._run.record(one.episode, repeat=one.request.sample, tags=(f"step-{step}",))

    def finish(self) -> None:
        """Mark the store's run as finished, so that whoever looks at it sees that it does not go on."""
        self._run.finish()


def _run_of(store: Store, config: GrpoConfig, resume: bool) -> Run:
    folder = Path(config.out).resolve()
    about = {
        "env_id": config.env.id,
        "env_kwargs": config.env.make_options("train"),
        "agent": f"grpo:{config.policy}",
        "split": "train",
        "k": config.rollout.group,
        "seed": config.seed,
        "out": str(folder),
    }
    if resume:
        # A store of its own lies in the folder and moves with it.
        own = [run for run in store.runs() if config.log.store is None or run.config.get("out") == str(folder)]
        if own:
            return store.begin_run(own[-1].name, about, resume=True)
    return store.begin_another(folder.name, about)
