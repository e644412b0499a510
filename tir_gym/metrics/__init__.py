"""What a set of episodes says about an agent: figures with their intervals, each formula written where it stands.

An episode comes in as an `Outcome` (`outcome.py`); `summarise` (`summary.py`) makes a `Summary` of many. Nothing here
reads a clock or a global generator: the same outcomes give the same summary, in whatever order they come.
"""

from tir_gym.metrics.intervals import Estimate, wilson
from tir_gym.metrics.outcome import Outcome
from tir_gym.metrics.passes import pass_at_k, pass_hat_k
from tir_gym.metrics.summary import Summary, summarise

__all__ = ["Estimate", "Outcome", "Summary", "pass_at_k", "pass_hat_k", "summarise", "wilson"]
