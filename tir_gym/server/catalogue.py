"""Which environments clients may make, and which options they may choose."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.errors import UsageError
from tir_gym.making import make_env, options_of
from tir_gym.registration import cards

OPTIONS = ("split", "dialect", "reward", "max_turns", "render_mode", "task")
"""What every client may choose: nothing in it reaches a file, a network or another program."""


class Catalogue:
    """The environments that a server offers.

    Args:
        ids: Registered ids or `module:Class`; all registered ones that need nothing if empty.
        fixed: Options that every environment is made with; no client can choose these.
        allowed: Options that clients may choose besides `OPTIONS`. Families have some that name files and addresses,
            so think of who can reach the server.

    Raises:
        UsageError: An environment that cannot be made, or an allowed option that none of them has.
    """

    def __init__(
        self,
        ids: Sequence[str] = (),
        *,
        fixed: Mapping[str, Any] | None = None,
        allowed: Collection[str] = (),
    ) -> None:
        self._fixed = dict(fixed or {})
        self._allowed = (set(OPTIONS) | set(allowed)) - set(self._fixed)
        self.ids: list[str] = []
        for name in ids:
            env = make_env(name, **self._fixed)
            self.ids.append(env.spec.id if env.spec is not None else name)
            env.close()
        if not ids:
            self.ids = [card.id for card in cards().values() if not card.needs]
        known = {name for id in self.ids for name in options_of(id)} if allowed else set()
        for name in allowed:
            if name not in known:
                raise UsageError(
                    f"option {name!r} cannot be allowed: no environment of this server has it; "
                    f"they have {', '.join(sorted(known))}"
                )

    def named(self, env_id: str | None) -> str:
        """The id in full.

        Raises:
            UsageError: Not offered, or none named where there are several.
        """
        offered = ", ".join(self.ids)
        if env_id is None:
            if len(self.ids) == 1:
                return self.ids[0]
            raise UsageError(f"env_id is missing; this server has {offered}")
        for id in (env_id, f"tir_gym/{env_id}"):
            if id in self.ids:
                return id
        raise UsageError(f"env_id {env_id!r} is not on this server; it has {offered}")

    def make(self, env_id: str | None, options: Mapping[str, Any]) -> ToolEnv:
        """An environment for a client.

        Raises:
            UsageError: Not offered, or an option that clients may not choose or that cannot be.
        """
        id = self.named(env_id)
        for name in options:
            if name in self._fixed:
                raise UsageError(f"option {name!r} is fixed by this server; leave it out")
            if name not in self._allowed:
                raise UsageError(
                    f"option {name!r} cannot be chosen on this server; those that can are {sorted(self._allowed)}"
                )
        task = options.get("task")
        if task is not None and not isinstance(task, str):
            raise UsageError("option 'task': a server plays its own tasks, so give the id of one")
        return make_env(id, **self._fixed, **options)
