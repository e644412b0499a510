"""Causal language models as transformers loads them, from a folder or from the hub by name, the device they go to, and
one way to say that there is none. Not how they are computed: that is the engine's or the trainer's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tir_gym.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    import torch


def load_causal_lm(source: str | Path, **options: Any) -> Any:
    """The model in a folder, or of that name on the hub.

    Args:
        source: Folder or name.
        options: Of `from_pretrained`, such as `dtype`.

    Raises:
        MissingExtra: torch or transformers are not installed.
        UsageError: There is none.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtra("a policy needs torch and transformers: pip install 'tir-gym[train]'") from error
    if not str(source):
        raise UsageError(_NO_POLICY)
    try:
        with no_bars():
            return AutoModelForCausalLM.from_pretrained(str(source), **options)
    except Exception as error:  # what a broken file makes of a loader is of many kinds
        raise found_none("causal language model", source, error) from error


def found_none(what: str, source: str | Path, error: BaseException) -> UsageError:
    """What to say where nothing could be loaded. A slip in a path reads like a name on the hub, so both are named."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if not str(source):
        return UsageError(_NO_POLICY)
    if Path(source).is_file():
        return UsageError(f"{source} is a file; name the folder that holds the model and its tokenizer")
    if closed := _closed(Path(source)):
        return UsageError(f"{source}: this user may not read {closed}")
    if Path(source).exists():
        return UsageError(f"{source}: no {what} can be loaded from this folder: {reason}")
    return UsageError(f"{source}: there is no such folder here, and no {what} of that name on the hub: {reason}")


def _closed(folder: Path) -> str:
    """What of a folder cannot be read by whoever runs this; empty where all can, or there is none."""
    if not folder.is_dir():
        return ""
    if not os.access(folder, os.R_OK | os.X_OK):
        return "this folder"
    return next((each.name for each in sorted(folder.iterdir()) if not os.access(each, os.R_OK)), "")


_NO_POLICY = "no policy; name the folder of one, such as `tir-gym make-policy` writes"


def chosen_device(name: str | None) -> torch.device:
    """The device of that name; a GPU where there is one and none is named.

    Raises:
        UsageError: No such device here.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(name or ("cuda" if gpus else "cpu"))
    except RuntimeError:
        raise UsageError(f"device={name!r} is none; give cpu, cuda or cuda:NUMBER") from None
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise UsageError(f"device={name!r}: PyTorch finds {gpus or 'no'} GPU{'' if gpus == 1 else 's'} here")
    return device


@contextmanager
def no_bars() -> Iterator[None]:
    """Without transformers' progress bars, which would stand for a blink on the terminal and for good in a log."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
