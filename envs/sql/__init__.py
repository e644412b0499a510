"""Questions and changes in SQL over generated databases."""

from tir_gym.envs.sql.env import SqlEnv

__all__ = ["SqlEnv"]
