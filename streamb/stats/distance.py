"""The distance of two distributions of counts, less what chance alone would give.

Notation: `p` and `q` are the shares of `n_p` and `n_q` observations over `c` classes, `m = (p + q) / 2`. The
Jensen-Shannon divergence (Lin 1991, eq. 4.1) in bits is `J = (KL(p || m) + KL(q || m)) / 2`, between 0 and 1; its root
is a metric (Endres and Schindelin 2003). Two samples of one distribution do not give 0 but, to second order in their
differences, `(c - 1) / 8 * (1 / n_p + 1 / n_q)` nats on average: this is subtracted. Whether the
samples differ at all is the G-test: `2 n` times the divergence weighted by `n_p / n` and `n_q / n`, in nats, is
chi-square with `c - 1` degrees of freedom while they do not.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from streamb.stats.special import chi_square_tail

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class CountDistance:
    """The distance of two distributions.

    Attributes:
        raw: the Jensen-Shannon distance of the shares, 0 to 1.
        distance: the same less what chance gives on average, 0 to 1.
        p_value: the probability of counts at least as different if the distributions are the same (one look).
        samples: the smaller of the two numbers of observations.
    """

    raw: float
    distance: float
    p_value: float
    samples: int


def jensen_shannon(left: Mapping[K, int], right: Mapping[K, int]) -> CountDistance:
    """Return the Jensen-Shannon distance of two counts; if one side has no observations: distance 0, p-value 1.

    >>> apart = jensen_shannon({"a": 500}, {"b": 500})
    >>> apart.raw, round(apart.distance, 4), apart.p_value < 1e-9
    (1.0, 0.9996, True)
    >>> alike = jensen_shannon({"a": 52, "b": 48}, {"a": 490, "b": 510})
    >>> round(alike.raw, 3), alike.distance, round(alike.p_value, 2)
    (0.025, 0.0, 0.57)
    """
    n_left, n_right = sum(left.values()), sum(right.values())
    if not n_left or not n_right:
        return CountDistance(0.0, 0.0, 1.0, 0)
    classes = {name for counts in (left, right) for name, count in counts.items() if count > 0}
    divergence = g = 0.0
    for name in classes:
        k_left, k_right = left.get(name, 0), right.get(name, 0)
        p, q = k_left / n_left, k_right / n_right
        divergence += (_term(p, (p + q) / 2) + _term(q, (p + q) / 2)) / 2
        pooled = (k_left + k_right) / (n_left + n_right)
        g += 2 * (n_left * _term(p, pooled) + n_right * _term(q, pooled))
    freedom = len(classes) - 1
    chance = freedom / 8 * (1 / n_left + 1 / n_right)
    return CountDistance(
        raw=_root_in_bits(divergence),
        distance=_root_in_bits(divergence - chance),
        p_value=chi_square_tail(g, freedom) if freedom else 1.0,
        samples=min(n_left, n_right),
    )


def _term(p: float, reference: float) -> float:
    return p * math.log(p / reference) if p > 0 else 0.0


def _root_in_bits(nats: float) -> float:
    return math.sqrt(min(1.0, max(0.0, nats / math.log(2))))
