"""Causal language models as transformers loads them, from a folder or from the hub by name, and one way to say that
there is none. Not how they are computed: that is the engine's or the trainer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tir_gym.errors import MissingExtra, UsageError


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
        raise UsageError("no policy; name the folder of one, such as `tir-gym make-policy` writes")
    try:
        with no_bars():
            return AutoModelForCausalLM.from_pretrained(str(source), **options)
    except (OSError, ValueError, ImportError) as error:
        raise found_none("causal language model", source, error) from error


def found_none(what: str, source: str | Path, error: BaseException) -> UsageError:
    """What to say where nothing could be loaded. A slip in a path reads like a name on the hub, so both are named."""
    reason = str(error).strip().partition("\n")[0]
    if Path(source).exists():
        return UsageError(f"{source}: no {what} can be loaded from this folder: {reason}")
    return UsageError(f"{source}: there is no such folder here, and no {what} of that name on the hub: {reason}")


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
