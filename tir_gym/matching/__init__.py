"""Matching the calls of an agent with the calls of a gold trace."""

from tir_gym.matching.hard import Assignment, hard
from tir_gym.matching.similarity import Strictness, similarity, similarity_matrix

__all__ = ["Assignment", "Strictness", "hard", "similarity", "similarity_matrix"]
