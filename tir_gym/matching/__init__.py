"""Matching the calls of an agent with the calls of a gold trace."""

from tir_gym.matching.gold_index import GoldIndex, Strictness
from tir_gym.matching.hard import Assignment, hard
from tir_gym.matching.similarity import similarity, similarity_matrix

__all__ = ["Assignment", "GoldIndex", "Strictness", "hard", "similarity", "similarity_matrix"]
