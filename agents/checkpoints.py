"""Checkpoints of whoever trains a policy: either there as a whole or not at all.

A checkpoint is the folder `checkpoints/step-000040`: `policy/` in Hugging Face's format (usable by itself),
`trainer.pt` (optimiser and random numbers) and `state.json` (counts). It is written under another name and renamed when
every byte is on the disk, so a process that is killed at any moment leaves the last one as it was. What comes next is
no part of it: the data order depends on the seed and the number of the step alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tir_gym.errors import UsageError


def save_checkpoint(
    run: Path, state: Mapping[str, Any], tensors: dict[str, Any], write_policy: Callable[[Path], None], *, keep: int
) -> Path:
    """Write a checkpoint and let older ones go.

    Args:
        run: Folder of the run.
        state: Where it stands, as JSON data; `step` is the number of steps done.
        tensors: What `torch.save` shall keep.
        write_policy: Writes the model into a folder.
        keep: How many of the newest stay.

    Returns:
        Its folder.
    """
    import torch

    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.partial"):  # of a process that was killed
        shutil.rmtree(left)
    name = f"step-{state['step']:06d}"
    partial, final = folder / f"{name}.partial", folder / name
    partial.mkdir()
    write_policy(partial / "policy")
    torch.save(tensors, partial / "trainer.pt")
    (partial / "state.json").write_text(json.dumps(dict(state)) + "\n")
    for file in sorted(partial.rglob("*")):
        _to_disk(file)
    _to_disk(partial)
    if final.exists():  # a run that was resumed before it
        shutil.rmtree(final)
    partial.rename(final)
    _to_disk(folder)
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    found = (run / "checkpoints").glob("step-*")
    return sorted(path for path in found if re.fullmatch(r"step-\d{6,}", path.name))


def last_checkpoint(run: Path) -> Path | None:
    """The newest one; `None` where the run was broken off before its first."""
    found = checkpoints(run)
    return found[-1] if found else None


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Where the run stood.

    Raises:
        UsageError: The checkpoint is broken.
    """
    try:
        state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text())
        state["step"] = int(state["step"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise broken(checkpoint, error) from error
    return state


def load_tensors(checkpoint: Path) -> dict[str, Any]:
    """What `save_checkpoint` was given as `tensors`, on the CPU; errors as `load_state`."""
    import torch

    try:
        tensors: dict[str, Any] = torch.load(checkpoint / "trainer.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # what a broken file makes of the loader is of many kinds
        raise broken(checkpoint, error) from error
    return tensors


def broken(checkpoint: Path, error: Exception) -> UsageError:
    """What to say of a checkpoint that cannot be read."""
    reason = str(error).strip().partition("\n")[0]
    return UsageError(f"the checkpoint {checkpoint} is broken ({reason}); remove it to go on from the one before")


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
