"""Several attempts at a task: does one of k succeed, do all of k? Unbiased, from n >= k attempts of which c succeeded.

    pass@k = 1 - C(n - c, k) / C(n, k)    Chen et al. 2021, arXiv 2107.03374, eq 1
    pass^k = C(c, k) / C(n, k)            Yao et al. 2024, tau-bench, arXiv 2406.12045, section 3

Both count the k-subsets of the attempts: those with a success in them, and those with nothing else.
"""

from __future__ import annotations

from math import comb

from tir_gym.errors import UsageError


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that at least one of k attempts succeeds.

    Args:
        n: Attempts made.
        c: Attempts that succeeded.
        k: Attempts asked about, `1 <= k <= n`.

    Raises:
        UsageError: Numbers that cannot be.
    """
    _check(n, c, k)
    return 1.0 - comb(n - c, k) / comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Probability that all of k attempts succeed. Arguments and errors as `pass_at_k`."""
    _check(n, c, k)
    return comb(c, k) / comb(n, k)


def _check(n: int, c: int, k: int) -> None:
    if not (0 <= c <= n and 1 <= k <= n):
        raise UsageError(f"n={n}, c={c}, k={k}: need 0 <= c <= n and 1 <= k <= n")
