"""`tir-gym validate ID`: the gold linter over a sample of tasks, and the probes' published returns.

The rules are in `linter.py`. `--publish` writes what the probes got into the family's `card.toml`.
"""

from __future__ import annotations

import json
import re
import tomllib
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from tir_gym.cli import exits
from tir_gym.cli.options import AsJson, DataDir, EnvArgs, EnvId, env_options
from tir_gym.cli.printing import number, print_json, print_table, progress, say
from tir_gym.errors import UsageError


def command(
    id: EnvId,
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="Tasks of each split; all of a data set, else 100.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, test or both.")] = "both",
    task: Annotated[list[str] | None, typer.Option("--task", help="Lint these tasks instead, by id.")] = None,
    data_dir: DataDir = None,
    env_arg: EnvArgs = None,
    probes: Annotated[bool, typer.Option("--probes/--no-probes", help="Whether to measure the probes.")] = True,
    publish: Annotated[bool, typer.Option("--publish", help="Write the probes' returns into the card.")] = False,
    as_json: AsJson = False,
) -> None:
    """Lint the gold traces of an environment; exit 1 when something is wrong.

    Replays every gold trace and lets the oracle and the reward-hacking probes play. Also for an environment of your
    own: `tir-gym validate module:Class`.
    """
    from tir_gym.cli.linter import Linter, sample
    from tir_gym.env import SPLITS
    from tir_gym.making import make_env

    if split not in (*SPLITS, "both"):
        raise UsageError(f"--split {split!r}: choose train, test or both")
    if publish and not probes:
        raise UsageError("--publish writes what the probes got, so it cannot go with --no-probes")
    options = env_options(data_dir=data_dir, env_args=env_arg)
    splits = SPLITS if split == "both" else (split,)
    names = list(task or ()) or sample(lambda s: make_env(id, split=s, **options), splits, n)
    linter = Linter(partial(make_env, id, **options), probes=probes)
    with progress("validate", len(names)) as tick:
        for name in names:
            linter.lint(name)
            tick(name)
    report = linter.finish()

    published = None
    if publish and not report.faults:
        from tir_gym.registration import card_path

        published = card_path(id)
        measured = f"{report.probe_tasks} of {report.tasks} tasks ({split}) have three or more gold calls; {_recipe(n)}"
        publish_probes(published, report.probes, measured)
    if as_json:
        print_json(
            {
                "env_id": id,
                "ok": not report.faults,
                "tasks": report.tasks,
                "tools": report.tools,
                "faults": [vars(fault) for fault in report.faults],
                "probes": report.probes,
                "probe_tasks": report.probe_tasks,
                "published": None if published is None else str(published),
            }
        )
    else:
        _print(report, published, wanted=publish)
    raise typer.Exit(exits.FAILED if report.faults else exits.OK)


def publish_probes(card: Path, probes: dict[str, float], measured: str) -> None:
    """Write the probes' returns into a card, every other line kept as it is.

    Args:
        card: A `card.toml`.
        probes: Best return of each probe as a share of the oracle's.
        measured: How they were measured.

    Raises:
        UsageError: The card's layout leaves no safe place to write to.
    """
    text = card.read_text(encoding="utf-8")
    head, tables = _split_at_tables(_without_probes(text))
    lines = [*head, f"probes_measured = {json.dumps(measured)}", *([""] if tables else []), *tables, "", "[probes]"]
    lines += [f"{_key(name)} = {round(share, 4) + 0.0!r}" for name, share in sorted(probes.items())]
    written = "\n".join(lines) + "\n"
    ours = {"probes", "probes_measured"}
    before, after = tomllib.loads(text), tomllib.loads(written)
    if {k: v for k, v in before.items() if k not in ours} != {k: v for k, v in after.items() if k not in ours}:
        raise UsageError(f"{card}: cannot find where its probes stand; write them as a [probes] table at the end")
    card.write_text(written, encoding="utf-8")


def _recipe(n: int | None) -> str:
    return f"default reward; tir-gym validate ID{'' if n is None else f' -n {n}'} --publish"


def _without_probes(text: str) -> list[str]:
    """The card's lines without what an earlier `--publish` wrote."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            inside = line.strip() == "[probes]"
        if not inside and not re.match(r"probes_measured\s*=|probes\s*=\s*\{.*\}\s*$", line):
            kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _split_at_tables(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines before the first table, blank ones at their end dropped, and the rest."""
    at = next((i for i, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    head = lines[:at]
    while head and not head[-1].strip():
        head.pop()
    return head, lines[at:]


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _print(report: Any, published: Path | None, *, wanted: bool) -> None:
    for fault in report.faults:
        say(str(fault))
    if report.probes:
        print_table(
            ("probe", "best share of the oracle's return"),
            [(name, number(share)) for name, share in sorted(report.probes.items())],
            title=f"Probes on {report.probe_tasks} tasks of three or more gold calls",
        )
    say(
        f"{report.tasks} tasks, {report.tools} tools: " + (f"{len(report.faults)} faults" if report.faults else "sound")
    )
    if published is not None:
        say(f"published in {published}")
    elif wanted:
        say("not published: faults first")
