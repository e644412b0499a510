"""`ShellSandbox`: file tools and commands on a tree of files. The tree is the state; a slot only runs the commands."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tir_gym.errors import InfrastructureError, ToolError, UsageError
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import Limits, Sandbox, check_picture
from tir_gym.sandboxes.jail.sandbox import lease_slot
from tir_gym.sandboxes.jail.tiers import Tier, choose
from tir_gym.sandboxes.shell.shell import Shell
from tir_gym.sandboxes.shell.tools import SHELL_TOOLS
from tir_gym.sandboxes.shell.tree import Tree, changes, check_fits, digest, tree_of
from tir_gym.tool import Toolkit

log = logging.getLogger("tir_gym.sandbox")


class ShellSandbox(Sandbox):
    """Runs a toolkit on a tree of files: commands in a jail, everything else on the tree itself.

    The tree is a value in this process, so a snapshot, a fork, `digest` and `diff` start no process and cost little,
    and all can be taken and restored anywhere. A slot is taken for the first command; it is given back by `close`, by
    going back to the initial state, or when the sandbox is collected.

    Files, folders and links are the state; owners, dates, and of modes all but whether a file can be executed, are
    not. Every command finds all files with one date. What it prints of the clock or of process ids is its own affair.

    Args:
        limits: Of every command; `files` and `disk` also of the tree.
        files: Initial content of the working folder, by relative path: text, bytes,
            `{"text" or "base64": ..., "executable": True}`, or `{"link": target}`.
        toolkit: The tools; `SHELL_TOOLS` and others that work on a `WorkTree` or a `Shell`.
        require: Take no tier of the jail weaker than this one, see `JailSandbox`.

    Raises:
        UsageError: Files that cannot be, or take more than the limits allow.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        files: Mapping[str, Any] | None = None,
        toolkit: Toolkit = SHELL_TOOLS,
        require: Tier | None = None,
    ) -> None:
        if not isinstance(toolkit, Toolkit):
            raise UsageError(f"toolkit={toolkit!r:.80}: give a Toolkit, such as Toolkit([a_tool])")
        self.limits = limits or Limits()
        self.toolkit = toolkit
        self.specs = toolkit.specs
        self.require: Tier | None = require
        self._initial = tree_of(files or {})
        check_fits(self._initial, self.limits)
        self._holding = False
        self._begin(self._initial)

    def start(self) -> None:
        """See that there is a tier; a slot is taken at the first command.

        Raises:
            SandboxUnavailable: The host has no tier that will do.
        """
        choose(self.require)

    def call(self, call: ToolCall) -> ToolResult:
        self._shell.begin_turn()
        return self._run(call)

    def run_turn(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        self._shell.begin_turn()
        return [self._run(call) for call in calls]

    def snapshot(self) -> Tree:
        return self._shell.tree

    def restore(self, snapshot: Tree) -> None:
        check_picture(snapshot, dict)
        self._shell.tree = snapshot
        if snapshot is self._initial and not self._holding:
            self._shell.release()

    def fork(self) -> ShellSandbox:
        twin = copy.copy(self)
        twin._holding = False
        twin._begin(self._shell.tree)
        return twin

    def digest(self) -> str:
        return digest(self._shell.tree)

    def diff(self) -> dict[str, Any]:
        return changes(self._initial, self._shell.tree)

    def close(self) -> None:
        self._shell.release()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep the slot while inside, even in the initial state: for who goes back there again and again."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self._shell.tree is self._initial:
                self._shell.release()

    def _run(self, call: ToolCall) -> ToolResult:
        shell, tool = self._shell, None
        shell.kept = shell.tree
        try:
            tool = self.toolkit.find(call.name)
            return ToolResult(tool.run(call.arguments, self._injected))
        except ToolError as refusal:
            shell.tree = shell.kept
            return ToolResult(refusal.content, str(refusal), refusal.kind)
        except InfrastructureError as error:
            error.tool = error.tool or call.name
            raise
        except Exception as bug:
            shell.tree = shell.kept
            if tool is not None and isinstance(bug, tool.raises):
                return ToolResult(error=str(bug), error_kind="refused")
            log.exception("tool %s broke on arguments %.2000r", call.name, call.arguments)
            raise InfrastructureError(
                f"tool {call.name} raised {type(bug).__name__}: {bug}", tool=call.name, kind="tool_bug"
            ) from bug

    def _begin(self, tree: Tree) -> None:
        # Not a method of this object: a circle of references would keep the slot until somebody collects garbage.
        self._shell = Shell(tree, self.limits, partial(lease_slot, self.limits, require=self.require))
        self._injected: Mapping[type, Any] = dict.fromkeys(Shell.__mro__, self._shell)
