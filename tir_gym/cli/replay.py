"""`tir-gym replay FILE`: play recorded episodes again and compare every byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tir_gym.cli import exits
from tir_gym.cli.options import DEFAULT_STORE, AsJson, DataDir, EnvArgs, Store, env_options
from tir_gym.cli.printing import count, note, print_json, progress, say
from tir_gym.cli.stores import existing_store
from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from tir_gym.env import ToolEnv
    from tir_gym.records import Trace


def command(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Made by `export --format jsonl`.", show_default=False)
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="NAME", help="A run of the store instead.")] = None,
    index: Annotated[
        int | None, typer.Option("--index", min=0, help="Only this episode, counted from 0.", show_default=False)
    ] = None,
    env: Annotated[
        str | None, typer.Option("--env", metavar="ID", help="Play in this environment, not in the recorded one.")
    ] = None,
    data_dir: DataDir = None,
    env_arg: EnvArgs = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Replay recorded episodes action by action; exit 1 at the first byte that comes out otherwise.

    All episodes are replayed; for each that differs, the first difference is printed.
    """
    if (file is None) == (run is None):
        raise UsageError("give a FILE that `tir-gym export` made, or --run NAME")
    options = env_options(data_dir=data_dir, env_args=env_arg)
    report = _Report(env, options)
    with _episodes(file, run, store) as episodes, progress("replay", None) as tick:
        for i, trace in enumerate(episodes):
            if index is None or i == index:
                report.replay(i, trace)
                tick()
    if index is not None and not report.episodes:
        raise UsageError(f"--index {index}: there is no such episode in {file or f'run {run}'}")
    report.close()
    if as_json:
        print_json(report.document())
    else:
        report.print()
    raise typer.Exit(exits.FAILED if report.differing else exits.OK)


class _Report:
    """Replays traces, one environment for all that share their options, and collects what came of them."""

    def __init__(self, env_id: str | None, options: dict[str, Any]) -> None:
        self._env_id = env_id
        self._options = options
        self._envs: dict[str, ToolEnv] = {}
        self.episodes = 0
        self.differing: list[dict[str, Any]] = []
        self.versions: set[str] = set()

    def replay(self, index: int, trace: Trace) -> None:
        from tir_gym.replay_trace import env_of, replay_trace

        recorded = trace.provenance
        key = repr((recorded.env_id, recorded.env_kwargs))
        if key not in self._envs:
            self._envs[key] = env_of(trace, env_id=self._env_id, **self._options)
        result = replay_trace(trace, self._envs[key])
        self.episodes += 1
        if result.versions_differ:
            self.versions.add(result.recorded_version)
        if result.difference is not None:
            self.differing.append(
                {
                    "index": index,
                    "task_id": recorded.task_id,
                    "turn": result.difference.turn,
                    "path": result.difference.path,
                    "recorded": result.difference.recorded,
                    "replayed": result.difference.replayed,
                    "text": result.difference.text,
                }
            )

    def close(self) -> None:
        for env in self._envs.values():
            env.close()

    def document(self) -> dict[str, Any]:
        import tir_gym

        return {
            "episodes": self.episodes,
            "same": self.episodes - len(self.differing),
            "differing": self.differing,
            "tir_gym": tir_gym.__version__,
            "recorded_with": sorted(self.versions) or [tir_gym.__version__],
        }

    def print(self) -> None:
        import tir_gym

        for found in self.differing:
            say(f"episode {found['index']}, task {found['task_id']}:")
            for line in found["text"].splitlines():
                say(f"  {line}")
        if self.versions:
            others = ", ".join(sorted(self.versions))
            note(f"recorded with tir-gym {others}, replayed with {tir_gym.__version__}: a difference may be meant")
        verdict = f"{len(self.differing)} differ" if self.differing else "all bytes the same"
        say(f"{count(self.episodes, 'episode')} replayed: {verdict}")


@contextmanager
def _episodes(file: Path | None, run: str | None, store: str) -> Iterator[Iterator[Trace]]:
    """The traces, in the order of the file or of the run."""
    if file is not None:
        from tir_gym.store.jsonl import read_jsonl

        yield (played.trace for _, played, _ in read_jsonl(file))
    else:
        with existing_store(store) as opened:
            yield (row.trace() for row in opened.run(str(run)).episodes())
