"""`JailSandbox`: Python behind the kernel's own walls; no root, no engine and no other program needed (Linux)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from tir_gym.sandbox import Limits
from tir_gym.sandboxes.jail.pool import slots
from tir_gym.sandboxes.jail.tiers import Tier, choose
from tir_gym.sandboxes.python import Mode, PythonSandbox, module_names
from tir_gym.sandboxes.slotted import Files, Slot


class JailSandbox(PythonSandbox):
    """Runs Python in a slot of the strongest embedded tier that the host has (`tiers.py`, `docs/security.md`).

    Args:
        limits: What each slot may use.
        files: Initial content of the work folder, by relative path.
        mode: `session`: a notebook, variables stay from call to call. `fresh`: each call in a new interpreter, only
            files stay.
        modules: Imported once, before any slot starts; other installed modules can be imported, at their price.
        require: Take no tier weaker than this one: `"A"` or `"B"`.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        files: Files | None = None,
        mode: Mode = "session",
        modules: Iterable[str] = ("numpy",),
        require: Tier | None = None,
    ) -> None:
        super().__init__(limits=limits or Limits(), files=files, mode=mode)
        self.modules = module_names(modules)
        self.require: Tier | None = require

    def start(self) -> None:
        """See that there is a tier; the slot itself is taken at the first call.

        Raises:
            SandboxUnavailable: The host has no tier that will do.
        """
        choose(self.require)

    def lease(self) -> Slot:
        return lease_slot(self.limits, modules=self.modules, require=self.require)


def lease_slot(limits: Limits, *, modules: tuple[str, ...] = (), require: Tier | None = None) -> Slot:
    """A slot from the pool.

    Args:
        limits: What it may use.
        modules: Imported beforehand.
        require: See `JailSandbox`.

    Raises:
        SandboxUnavailable: There is none to be had.
    """
    from tir_gym.sandboxes.jail.slot import start_slot

    tier = choose(require)
    return slots.lease((limits, modules, tier), partial(start_slot, limits, modules=modules, tier=tier))
