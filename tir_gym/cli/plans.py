"""An evaluation as commands see it: planned (everything checked before anything runs), then run into a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import note, progress
from tir_gym.cli.stores import free_name
from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from tir_gym.env import ToolEnv
    from tir_gym.episode import PlayedEpisode
    from tir_gym.metrics import Summary
    from tir_gym.store import Run, Store


@dataclass(frozen=True)
class Plan:
    """An evaluation that can begin."""

    env_id: str
    options: dict[str, Any]
    """Of the environment."""
    agent: str
    agent_options: dict[str, Any]
    split: str
    tasks: list[str]
    named: bool
    """Whether the tasks were given one by one."""
    k: int = 1
    seed: int = 0
    concurrency: int = 1
    run: str | None = None
    """Name of the run; `None` for the next free one."""
    resume: bool = False

    @property
    def episodes(self) -> int:
        return len(self.tasks) * self.k

    def config(self) -> dict[str, Any]:
        """What the store keeps of it; `store.DEFINING` says on what a resume must agree."""
        from tir_gym.rewards import get_reward

        return {
            "env_id": self.env_id,
            "env_kwargs": self.options,
            "agent": self.agent,
            "agent_args": self.agent_options,
            "split": self.split,
            "tasks": self.tasks if self.named else None,
            "n": len(self.tasks),
            "k": self.k,
            "seed": self.seed,
            "concurrency": self.concurrency,
            "reward": get_reward(self.options.get("reward", "default")).model_dump(),
            "versions": {name: version(name) for name in ("tir-gym", "gymnasium")} | {"python": python_version()},
        }

    def make_env(self) -> ToolEnv:
        from tir_gym.making import make_env

        return make_env(self.env_id, **self.options)


@dataclass(frozen=True)
class Finished:
    """A plan that was run."""

    run: Run
    summary: Summary
    infra_messages: dict[str, str]
    """What the first infrastructure failure of each kind said."""


def make_plan(
    env_id: str,
    agent: str,
    *,
    options: dict[str, Any],
    agent_options: dict[str, Any] | None = None,
    split: str = "test",
    n: int | None = None,
    tasks: Sequence[str] | None = None,
    k: int = 1,
    seed: int = 0,
    concurrency: int = 1,
    run: str | None = None,
    resume: bool = False,
) -> Plan:
    """Check all that can be checked without playing: the environment is made, its tasks named, the agent made.

    Args:
        env_id: The environment.
        agent: Name of the agent.
        options: Options of the environment, `split` among them.
        agent_options: Options of the agent.
        split: Where tasks come from.
        n: Number of tasks; all of a data set and 100 of a generator for `None`.
        tasks: Ids of tasks instead.
        k: Attempts at each task.
        seed: Of the agent's randomness.
        concurrency: Episodes at the same time.
        run: Name of the run.
        resume: Whether to go on with it.

    Raises:
        UsageError: Something that cannot be.
    """
    from tir_gym.agents import make_agent
    from tir_gym.making import make_env

    if tasks and n is not None:
        raise UsageError(f"-n {n} and --task: give one of the two")
    if resume and run is None:
        raise UsageError("--resume needs --run NAME, the run to go on with; `tir-gym runs` lists them")
    env = make_env(env_id, **options)
    try:
        for name in tasks or ():
            env.task_named(name)
        chosen = list(tasks) if tasks else env.task_ids(n)
        full_id = env_id if env.spec is None else env.spec.id
    finally:
        env.close()
    getattr(make_agent(agent, **(agent_options or {})), "close", lambda: None)()
    return Plan(
        env_id=full_id,
        options=options,
        agent=agent,
        agent_options=agent_options or {},
        split=split,
        tasks=chosen,
        named=bool(tasks),
        k=k,
        seed=seed,
        concurrency=concurrency,
        run=run,
        resume=resume,
    )


def run_plan(plan: Plan, store: Store) -> Finished:
    """Play what the plan says and the run does not have yet.

    Raises:
        UsageError: The name of the run is taken, or its run was another one.
        KeyboardInterrupt: As pressed, after saying how to go on.
    """
    from tir_gym.agents import make_agent
    from tir_gym.evaluation import evaluate

    run = _begin(plan, store)
    messages: dict[str, str] = {}
    succeeded = finished = 0
    if plan.resume:
        for row in run.episodes():
            if row.infra_error is None:
                finished, succeeded = finished + 1, succeeded + bool(row.success)
        if not finished:
            note(f"run {run.name} holds no finished episode: it begins now")
    with progress(f"{plan.agent} on {plan.env_id}", plan.episodes, done=finished) as tick:

        def on_episode(played: PlayedEpisode, task: str, repeat: int) -> None:
            nonlocal succeeded, finished
            failure = played.trace.infra_error
            if failure is not None:
                messages.setdefault(str(failure.get("kind")), f"task {task}: {failure.get('message')}")
            finished, succeeded = finished + 1, succeeded + bool(played.trace.success)
            tick(f"({succeeded} of {finished} succeeded)")

        try:
            summary = evaluate(
                plan.make_env,
                partial(make_agent, plan.agent, **plan.agent_options),
                run,
                tasks=plan.tasks,
                repeats=plan.k,
                concurrency=plan.concurrency,
                seed=plan.seed,
                on_episode=on_episode,
            )
        except BaseException as error:
            if finished or not isinstance(error, UsageError):  # a slip at the start would only be made again
                note(f"{finished} episodes are kept; go on with the same command and --run {run.name} --resume")
            raise
    return Finished(run, summary, messages)


def _begin(plan: Plan, store: Store) -> Run:
    """The run, begun or taken up; one without a name gets the next free one."""
    while plan.run is None:
        name = free_name(plan.env_id, plan.agent, {info.name for info in store.runs()})
        try:
            return store.begin_run(name, plan.config())
        except UsageError:
            if name not in {info.name for info in store.runs()}:
                raise
            # else another process took the name a moment ago
    return store.begin_run(plan.run, plan.config(), resume=plan.resume)
