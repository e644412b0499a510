"""Where tools run: data in this process, a jailed interpreter or shell, a database, a container, an MCP server."""

from tir_gym.sandboxes.making import KINDS, make_sandbox

__all__ = ["KINDS", "make_sandbox"]
