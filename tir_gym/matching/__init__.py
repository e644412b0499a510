"""Matching the calls of an agent with the calls of a gold trace: similarity, and four ways to assign."""

from tir_gym.matching.batch import hard_batch, similarity_batch
from tir_gym.matching.gold_index import GoldIndex, Strictness
from tir_gym.matching.hard import Assignment, hard
from tir_gym.matching.incremental import IncrementalAssignment
from tir_gym.matching.matcher import Matcher, TurnCredit
from tir_gym.matching.ordered import ordered
from tir_gym.matching.similarity import similarity, similarity_matrix
from tir_gym.matching.soft import SoftAssignment, soft, soft_batch

__all__ = [
    "Assignment",
    "GoldIndex",
    "IncrementalAssignment",
    "Matcher",
    "SoftAssignment",
    "Strictness",
    "TurnCredit",
    "hard",
    "hard_batch",
    "ordered",
    "similarity",
    "similarity_batch",
    "similarity_matrix",
    "soft",
    "soft_batch",
]
