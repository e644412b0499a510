"""How strongly this host can wall code in: the tiers, tried out, and the choice among those that need no engine.

Nothing weaker than a tier is ever used in its place without a word: who says `require="A"` gets it or an error.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Literal, TypeAlias

from tir_gym.errors import SandboxUnavailable, UsageError
from tir_gym.sandbox import Limits

log = logging.getLogger("tir_gym.sandbox")

Tier: TypeAlias = Literal["A", "B"]

TIERS: Mapping[Tier, str] = {
    "A": "namespaces, own root, seccomp, rlimits",
    "B": "Landlock, seccomp, rlimits",
}
"""The embedded tiers, the stronger first."""


@functools.cache
def fault(tier: Tier) -> str | None:
    """Why the tier cannot be had on this host; `None` where a slot of it starts. Tried once per process."""
    from tir_gym.sandboxes.jail.slot import probe_tier

    return probe_tier(tier)


def caveat(tier: Tier) -> str | None:
    """What a tier that works lacks on this host; `None` for nothing."""
    from tir_gym.sandboxes.jail.slot import start_slot

    slot = start_slot(Limits(), modules=(), tier=tier)
    slot.close()
    if not slot.watched:
        return None
    return (
        "processes are only watched, so a burst may pass the limit: this process is traced (strace, a debugger), or "
        "nobody may trace here (sysctl kernel.yama.ptrace_scope)"
    )


def choose(require: Tier | None = None) -> Tier:
    """The strongest embedded tier that this host has.

    Args:
        require: Take none weaker than this one.

    Raises:
        SandboxUnavailable: There is none; with the reasons.
    """
    if require is not None and require not in TIERS:
        raise UsageError(f"require={require!r}: choose one of {', '.join(TIERS)}, or None for the strongest there is")
    reasons: list[str] = []
    for tier in TIERS:
        reason = fault(tier)
        if reason is None:
            if reasons:
                _warn_once(tier, "; ".join(reasons))
            return tier
        reasons.append(f"tier {tier} ({TIERS[tier]}): {reason}")
        if tier == require:
            break
    raise SandboxUnavailable(
        f"no jail on this host. {'; '.join(reasons)}. `tir-gym doctor` says more; a container engine serves as well: "
        "make_sandbox('container')",
        kind="tier_missing",
    )


@functools.cache
def _warn_once(tier: Tier, reasons: str) -> None:
    log.warning("the jail runs in tier %s (%s), because: %s", tier, TIERS[tier], reasons)
