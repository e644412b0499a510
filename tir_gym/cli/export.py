"""`tir-gym export RUN` and `tir-gym import FILE`: runs as files, and files as runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tir_gym.cli.options import DEFAULT_STORE, AsJson, Store
from tir_gym.cli.printing import count, note, print_json, say
from tir_gym.cli.stores import existing_store
from tir_gym.errors import UsageError

FORMATS = ("jsonl", "openai", "sharegpt", "atif", "parquet")


def export_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run, see `runs`.")],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="jsonl: whole episodes, for `import`; openai, sharegpt: conversations for fine-tuning; atif: "
            "trajectories; parquet: rows for verl and SkyRL.",
        ),
    ] = "jsonl",
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Instead of stdout.")] = None,
    only_success: Annotated[
        bool, typer.Option("--only-success", help="Leave out failed episodes; not with --format jsonl.")
    ] = False,
    store: Store = DEFAULT_STORE,
) -> None:
    """Write the episodes of a run: one JSON document per line, or one row of a Parquet file."""
    from tir_gym.store import export_atif, export_jsonl, export_openai, export_parquet, export_sharegpt

    if format not in FORMATS:
        raise UsageError(f"--format {format!r}: choose {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if only_success and format == "jsonl":
        raise UsageError("--only-success goes with the formats for training: a jsonl export is the whole run")
    if format == "parquet" and output is None:
        raise UsageError("--format parquet needs -o FILE: a Parquet file is no text")
    lines = {"openai": export_openai, "sharegpt": export_sharegpt, "atif": export_atif}
    with existing_store(store) as opened:
        chosen = opened.run(run)
        if format == "parquet":
            written = export_parquet(chosen, output or "", only_success=only_success)
        elif format in lines:
            written = lines[format](chosen, output or sys.stdout, only_success=only_success)
        else:
            written = export_jsonl(chosen, output or sys.stdout)
    if output is not None:
        note(f"{count(written, 'episode')} of run {run} written to {output}")


def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Made by `export --format jsonl`.")],
    run: Annotated[str, typer.Option("--run", metavar="NAME", help="Name of the new run.")],
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Read an exported file into a new run, all of it or nothing."""
    from tir_gym.store import import_jsonl, open_store

    if not file.exists():
        raise UsageError(f"there is no file {file}")
    with open_store(store) as opened:
        imported = import_jsonl(opened, file, run)
        episodes = sum(1 for _ in imported.episodes())
    if as_json:
        print_json({"run": run, "store": store, "episodes": episodes})
    else:
        say(f"{count(episodes, 'episode')} in run {run} of {store}")
