"""What is attacked: every sandbox that runs code, and the runner without protection.

Sandboxes are imported when they are first asked for, after the host has planted its secrets.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from escape.cases import Box, Case
from escape.naive import NaiveBox
from tir_gym.errors import SandboxUnavailable
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import Limits

if TYPE_CHECKING:
    from tir_gym.sandboxes.slotted import Slot, SlotSandbox


class Backend(Protocol):
    """A kind of sandbox, as `attack.py` drives it."""

    def fault(self) -> str | None:
        """Why it cannot be had here."""

    def open(self, limits: Mapping[str, Any], mode: str, case: Case | None) -> Any:
        """A context manager that gives a box; `case` is absent for a sandbox beside the one under attack."""

    def outside(self, box: Any, work: str) -> str:
        """Where a box's work folder lies as seen from the host, or its own path where it lies nowhere else."""


class Naive:
    """No protection: every attack must get through."""

    def fault(self) -> str | None:
        return None

    def open(self, limits: Mapping[str, Any], mode: str, case: Case | None) -> NaiveBox:
        if case is None:
            return NaiveBox(seconds=8.0, stay=True)
        return NaiveBox(seconds=case.patience, prefix=case.control.prefix, user=case.control.user)

    def outside(self, box: NaiveBox, work: str) -> str:
        return str(box.work)


class SlotBox:
    """A sandbox over a slot."""

    def __init__(self, sandbox: SlotSandbox) -> None:
        self.sandbox = sandbox

    def run(self, code: str) -> ToolResult:
        return self.sandbox.call(ToolCall("python", {"code": code}))

    def read(self, path: str) -> bytes:
        return base64.b64decode(self.sandbox.request("read", path=path, max=1 << 20)["base64"])

    def write(self, path: str, content: bytes) -> None:
        self.sandbox.request("write", files={path: {"base64": base64.b64encode(content).decode()}})

    def unpack(self, archive: bytes) -> None:
        self.sandbox.request("unpack", tar=base64.b64encode(archive).decode())

    def snapshot(self) -> Any:
        return self.sandbox.snapshot()

    def restore(self, picture: Any) -> None:
        self.sandbox.restore(picture)


class Jail:
    """The jail in one tier."""

    def __init__(self, tier: Any) -> None:
        self.tier = tier

    def fault(self) -> str | None:
        from tir_gym.sandboxes.jail import tiers

        return tiers.fault(self.tier)

    @contextmanager
    def open(self, limits: Mapping[str, Any], mode: str, case: Case | None) -> Iterator[Box]:
        from tir_gym.sandboxes.jail import JailSandbox
        from tir_gym.sandboxes.jail.pool import slots
        from tir_gym.sandboxes.jail.slot import start_slot

        tier = self.tier

        class InTier(JailSandbox):
            def lease(self) -> Slot:
                # Like the jail's own, of which only the strongest tier of a host can be asked for.
                return slots.lease(
                    (self.limits, self.modules, tier), lambda: start_slot(self.limits, modules=self.modules, tier=tier)
                )

        with InTier(limits=Limits.model_validate(limits), mode=mode) as sandbox:  # type: ignore[arg-type]
            yield SlotBox(sandbox)

    def outside(self, box: Any, work: str) -> str:
        return work


class Container:
    """A container of an engine."""

    def fault(self) -> str | None:
        from tir_gym.sandboxes import make_sandbox

        try:
            make_sandbox("container").start()
        except SandboxUnavailable as error:
            return str(error)
        return None

    @contextmanager
    def open(self, limits: Mapping[str, Any], mode: str, case: Case | None) -> Iterator[Box]:
        from tir_gym.sandboxes import make_sandbox

        with make_sandbox("container", limits=limits, mode=mode) as sandbox:
            yield SlotBox(sandbox)  # type: ignore[arg-type]

    def outside(self, box: Any, work: str) -> str:
        return work


BACKENDS: Mapping[str, Callable[[], Any]] = {
    "naive": Naive,
    "jail-A": lambda: Jail("A"),
    "jail-B": lambda: Jail("B"),
    "container": Container,
}
