"""Model-written Python in an interpreter of its own, jailed by namespaces, seccomp and rlimits, warm and quick."""

from tir_gym.sandboxes.jail.sandbox import JailSandbox, lease_slot
from tir_gym.sandboxes.jail.tiers import TIERS, Tier

__all__ = ["TIERS", "JailSandbox", "Tier", "lease_slot"]
