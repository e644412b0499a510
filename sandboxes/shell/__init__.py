"""Files and commands: a tree of files as a value, tools on it, and a jailed shell that is filled with it to run."""

from tir_gym.sandboxes.shell.sandbox import ShellSandbox
from tir_gym.sandboxes.shell.tools import SHELL_TOOLS
from tir_gym.sandboxes.shell.tree import WorkTree

__all__ = ["SHELL_TOOLS", "ShellSandbox", "WorkTree"]
