"""The tool `python`: code that a model wrote, run in a slot, as a notebook or each call afresh."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, cast

from tir_gym.errors import UsageError
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.outcome import printed
from tir_gym.sandboxes.slotted import Files, SlotSandbox
from tir_gym.tool import Toolkit, tool

Mode: TypeAlias = Literal["session", "fresh"]


class PythonSandbox(SlotSandbox):
    """Runs Python. Subclasses say in what kind of slot.

    Args:
        limits: What each slot may use.
        files: Initial content of the work folder, by relative path.
        mode: `session`: a notebook, variables stay from call to call. `fresh`: each call in a new interpreter, only
            files stay.
    """

    def __init__(self, *, limits: Limits, files: Files | None = None, mode: Mode = "session") -> None:
        if mode not in ("session", "fresh"):
            raise UsageError(f"mode={mode!r}: choose 'session' or 'fresh'")
        super().__init__(limits=limits, files=files)
        self.mode: Mode = mode
        self.keeps_variables = mode == "session"


def module_names(modules: Iterable[str]) -> tuple[str, ...]:
    """The option `modules`.

    Raises:
        UsageError: It is no sequence of names; a string, whose letters are none, among them.
    """
    names = tuple(modules) if isinstance(modules, Iterable) and not isinstance(modules, (str, bytes)) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"modules={modules!r}: give a sequence of names, such as ('numpy', 'pandas')")
    return cast("tuple[str, ...]", names)


@tool(effect="write")
def python(sandbox: PythonSandbox, code: str) -> str:
    """Run Python code in the work folder and give back what it prints.

    Args:
        code: The code. Only what is printed comes back.
    """
    return printed(sandbox.request("call", code=code, mode=sandbox.mode), sandbox.limits)


PythonSandbox.toolkit = Toolkit([python])
