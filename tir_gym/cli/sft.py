"""`tir-gym sft POLICY --env ID --out DIR`: a supervised start, on demonstrations whose flaw is always the same."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tir_gym.cli.options import AsJson, EnvArgs, key_values
from tir_gym.cli.printing import note, number, percent, print_json, print_table, say

_EVERY = 20
"""Steps between two lines."""


def command(
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="Folder of a policy, such as make-policy writes.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write, new or empty.")],
    env: Annotated[str, typer.Option("--env", metavar="ID", help="Environment id.")] = "tir_gym/Lookup-v0",
    env_arg: EnvArgs = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Demonstrations of a step.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", min=0.0, help="Highest learning rate.")] = None,
    demonstrations: Annotated[
        int | None, typer.Option("--demonstrations", min=1, help="Different ones; then they come again.")
    ] = None,
    stop_early: Annotated[
        float | None, typer.Option("--stop-early", help="Probability that one stops a round of calls early.")
    ] = None,
    repeat: Annotated[float | None, typer.Option("--repeat", help="Probability that a round is repeated.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of demonstrations and their order.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="Such as cuda:0; a GPU if there is one.")] = None,
    checkpoint: Annotated[
        int, typer.Option("--checkpoint-every", min=0, help="Steps between two checkpoints; 0 for none.")
    ] = 50,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out, under the same options.")
    ] = False,
    eval_tasks: Annotated[int, typer.Option("--eval-tasks", min=0, help="Held-out tasks to play at the end.")] = 256,
    as_json: AsJson = False,
) -> None:
    """Teach a policy by demonstrations.

    The loss is taken over the demonstrator's own tokens. At the end, held-out tasks are played, greedy and sampled at
    temperature 1.
    """
    from tir_gym.agents.engines import HuggingFaceTokenizer
    from tir_gym.agents.policies import Flaws, Lessons, SupervisedConfig, measure_success, teach

    def given(**values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    plain = Flaws.usual()
    lessons = Lessons(
        env_id=env,
        env_options=key_values(env_arg, "--env-arg"),
        flaws=Flaws(**{**asdict(plain), **given(stop_early=stop_early, repeat=repeat)}),
        seed=seed,
        **given(count=demonstrations),
    )
    config = SupervisedConfig(**given(steps=steps, batch=batch, lr=lr))
    losses: list[float] = []

    def on_step(figures: dict[str, float]) -> None:
        losses.append(figures["loss"])
        step = int(figures["step"])
        if not as_json and (step % _EVERY == 0 or step == config.steps):
            recent = losses[-_EVERY:]
            seconds = time.process_time() - start
            note(f"step {step}/{config.steps}  loss {sum(recent) / len(recent):.3f}  {seconds:.0f} CPU-s")

    start = time.process_time()
    model = teach(
        policy, out, lessons, config, device=device, on_step=on_step, checkpoint_every=checkpoint, resume=resume
    )
    document: dict[str, Any] = {"folder": str(out), "steps": config.steps, "loss": losses[-1]}
    document["cpu_seconds"] = time.process_time() - start
    tokenizer = HuggingFaceTokenizer.load(out)
    tasks = lessons.make_env("test").task_ids(eval_tasks) if eval_tasks else []
    for name, temperature in (("greedy", 0.0), ("sampled", 1.0)) if tasks else ():
        found = measure_success(
            model, tokenizer, lambda: lessons.make_env("test"), tasks, temperature=temperature, seed=seed
        )
        document[name] = asdict(found)
    if as_json:
        print_json(document)
        return
    if tasks:
        rows = [
            [name, percent(got["success"]), number(got["mean_return"], 2), number(got["calls_per_gold_call"], 2)]
            for name, got in ((name, document[name]) for name in ("greedy", "sampled"))
        ]
        print_table(["held out", "success", "return", "calls per gold call"], rows, f"{len(tasks)} tasks of {env}")
    say(f"{out}: {document['cpu_seconds']:.0f} CPU-s")
