"""`tir-gym view [STORE]`: runs and episodes on a local web page, live while they are played."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tir_gym.cli.options import DEFAULT_STORE
from tir_gym.cli.printing import say
from tir_gym.errors import MissingExtra, UsageError

_PORT = 8765


def command(
    store: Annotated[str, typer.Argument(metavar="[STORE]", help="Trace store: a file, or a database URL.")] = (
        DEFAULT_STORE
    ),
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; not this machine alone: with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 for any free one.")] = _PORT,
    token: Annotated[
        str | None, typer.Option("--token", metavar="TEXT", help="What readers must show; made up where one is needed.")
    ] = None,
    training: Annotated[
        list[Path] | None,
        typer.Option("--training", metavar="DIR", help="Folder with training runs; the store's own if absent."),
    ] = None,
) -> None:
    """Look at runs: who wins where, each episode turn by turn, and why each turn was paid what it was."""
    if "://" not in store and not Path(store).is_file():
        raise UsageError(f"there is no store at {store}; `tir-gym eval` makes one, `tir-gym view PATH` names another")
    for folder in training or ():
        if not folder.is_dir():
            raise UsageError(f"--training {folder}: there is no such folder")
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the viewer needs a web server; run pip install 'tir-gym[viewer]'") from error
    from tir_gym.viewer.serving import serve

    beside = [] if "://" in store else [Path(store).absolute().parent]
    serve(store, host=host, port=port, token=token, folders=training or beside, say=_told)


def _told(line: str) -> None:
    say(f"{line}\nCtrl-C ends it.")
    sys.stdout.flush()  # whoever reads a pipe waits for the address
