"""Toolkits whose state is plain data, in this process, copy-on-write over a world that many environments share."""

from tir_gym.sandboxes.state.ids import HashedIds, IdSource
from tir_gym.sandboxes.state.sandbox import StateSandbox
from tir_gym.sandboxes.state.state import State, Table, World

__all__ = ["HashedIds", "IdSource", "State", "StateSandbox", "Table", "World"]
