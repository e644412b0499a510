"""`tir-gym view [STORE]`: runs and episodes on a local web page, live while they are played."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tir_gym.cli.options import DEFAULT_STORE
from tir_gym.cli.printing import say
from tir_gym.cli.stores import refuse_empty
from tir_gym.errors import MissingExtra, UsageError

_PORT = 8765


def command(
    store: Annotated[
        str, typer.Argument(metavar="[STORE]", help="Trace store: a file, a URL, or the folder of a training run.")
    ] = DEFAULT_STORE,
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
    for folder in training or ():
        if not folder.is_dir():
            raise UsageError(f"--training {folder}: there is no such folder")
    place = None if "://" in store else Path(store)
    folders = training or ([] if place is None else [place if place.is_dir() else place.absolute().parent])
    found = store if place is None or place.is_file() else _store_in(place, folders)
    if found is not None:
        refuse_empty(found)
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the viewer needs a web server; run pip install 'tir-gym[viewer]'") from error
    from tir_gym.viewer.serving import serve

    serve(found, host=host, port=port, token=token, folders=folders, say=_told)


_STORES = ("rollouts.db", "tir-gym.db")
"""What `train` and `eval` call their stores."""


def _store_in(place: Path, folders: list[Path]) -> str | None:
    """The store of a folder; `None` where there are only logs of training to look at."""
    from tir_gym.cli.reporting.learning import find_logs

    if place.is_dir():
        for name in _STORES:
            if (place / name).is_file():
                return str(place / name)
    if (place.is_dir() or str(place) == DEFAULT_STORE) and find_logs(folders):
        return None
    if place.is_dir():
        raise UsageError(f"{place} holds neither a store ({' or '.join(_STORES)}) nor the log of a training run")
    raise UsageError(f"there is no store at {place}; `tir-gym eval` makes one, `tir-gym view PATH` names another")


def _told(line: str) -> None:
    say(f"{line}\nCtrl-C ends it.")
    sys.stdout.flush()  # whoever reads a pipe waits for the address
