"""Detects a rise of a stream's mean at any time, with a guaranteed distance between false alarms (an e-detector).

Notation: losses `x >= 0` (an error is the loss 1, a right answer 0) with the mean `m` at most, while nothing has
changed. A *bet* `f`, between 0 and 1, multiplies its stake by `1 + f (x / m - 1)` at each loss: never negative, and on
average at most 1 while the mean is at most `m`. For errors with `f = (p - m) / (1 - m)` this is the likelihood ratio of
the error rate `p` to `m`. The Shiryaev-Roberts e-detector of bet `k` lends 1 anew before each loss,

    S_k <- (S_k + 1) * (1 + f_k (x / m - 1)),

so the mean of `S` over the bets grows by at most 1 per loss on average, and the alarm at "mean of `S` >= `A`" comes
after `A` losses or more on average while nothing has changed: the *average run length* (Shin, Ramdas and Rinaldo 2023,
definition 2.2 and proposition 2.3; a mean of e-detectors is one).

**Batches.** Of `n` losses only their sum `s` and the sum of their squares `q` need be known. The stake is multiplied by
at least

    (1 - f)**(n (1 - w)) * (1 - f + f q / (s m))**(n w),    w = s**2 / (n q),

what it would be had `n w` of the losses the value `q / s` and the others none. Proof: the parabola that meets
`g(x) = ln(1 - f + f x / m)` at 0 and touches it at `q / s` stays below `g` for `x >= 0` (the error of Hermite
interpolation is `g'''(t) x (x - q / s)**2 / 6`, and `g''' > 0`), and its sum depends on `n`, `s` and `q` only. For
errors, and for a single loss, it is exact. `n` is lent before the batch, as if all of it came at once: the promise
holds (it only needs that the size of a batch does not depend on the losses in it), and a batch is judged as a whole.

**When.** Beside `S_k` runs the greatest stake that started at any single loss (the CUSUM of Page 1954): where it last
started is where the change that bet `k` sees most likely was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

SHIFTS: Final = (0.1, 0.15, 0.3, 0.6)
"""The rises of the mean that are bet on, in standard deviations. For errors at 20 %: 4, 6, 12 and 24 points."""

_MOST: Final = 0.9
"""The largest fraction of any bet: a single loss of 0 must not cost nearly the whole stake."""


@dataclass(frozen=True, slots=True)
class Bets:
    """The hypothesis and the bets against it.

    Attributes:
        mean: `m`, above 0.
        fractions: `f_k`, each between 0 and 1.
        on_nothing: `ln(1 - f_k)`: the log of the factor by which a loss of 0 changes each stake.
    """

    mean: float
    fractions: tuple[float, ...]
    on_nothing: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "on_nothing", tuple(math.log1p(-f) for f in self.fractions))

    @classmethod
    def on_errors(cls, rate: float) -> Bets:
        """Return bets against "the error rate is at most `rate`" (above 0 and below 1).

        >>> [round(0.2 + f * 0.8, 2) for f in Bets.on_errors(0.2).fractions]  # the rates that are bet on
        [0.24, 0.26, 0.32, 0.44]
        """
        deviation = math.sqrt(rate * (1.0 - rate))
        return cls(rate, _distinct(shift * deviation / (1.0 - rate) for shift in SHIFTS))

    @classmethod
    def on_losses(cls, mean: float, deviation: float) -> Bets:
        """Return bets against "the mean of the losses is at most `mean`" (above 0); `deviation` is their usual spread.

        The fraction that wins most, to second order, if the mean rises by `d` is `m d / (deviation**2 + d**2)`.
        """
        ratio = mean / deviation if deviation > 0.0 else 1.0
        return cls(mean, _distinct(shift / (1.0 + shift * shift) * ratio for shift in SHIFTS))

    def log_factors(self, count: int, total: float, squares: float) -> tuple[float, ...]:
        """Return a lower bound of the log of the factor by which `count` losses change each stake.

        Args:
            count: how many losses, at least 1.
            total: their sum.
            squares: the sum of their squares; at least `total**2 / count`.
        """
        if total <= 0.0:
            return tuple([count * nothing for nothing in self.on_nothing])
        high = min(float(count), total * total / squares) if squares > 0.0 else float(count)
        above = max(squares / total, total / count) / self.mean - 1.0
        low = count - high
        pairs = zip(self.fractions, self.on_nothing, strict=True)
        return tuple([low * nothing + high * math.log1p(f * above) for f, nothing in pairs])


def _distinct(fractions: Iterable[float]) -> tuple[float, ...]:
    return tuple(dict.fromkeys(min(_MOST, fraction) for fraction in fractions))


class Lead(NamedTuple):
    """The greatest stake of one bet that started at a single moment.

    Attributes:
        log_stake: its `ln`; 0 if every start would have lost.
        since: the number of losses before it started.
        since_at: the time of the batch before it; None at the very beginning.
        total: the sum of the losses since then.
    """

    log_stake: float = 0.0
    since: int = 0
    since_at: float | None = None
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Detection:
    """The state of the detector: a few numbers for each bet, no matter how many losses there were.

    Attributes:
        count: the number of losses so far.
        log_sums: `ln(1 + S_k)`.
        leads: for each bet, where a change most likely began.
    """

    count: int
    log_sums: tuple[float, ...]
    leads: tuple[Lead, ...]

    @classmethod
    def start(cls, bets: Bets) -> Detection:
        """Return the state before the first loss."""
        size = len(bets.fractions)
        return cls(0, (0.0,) * size, (Lead(),) * size)

    @property
    def evidence(self) -> float:
        """`ln` of the mean of `1 + S_k`; the alarm is raised when it reaches `ln(1 + A)`."""
        greatest = max(self.log_sums)
        mean = math.fsum(math.exp(one - greatest) for one in self.log_sums) / len(self.log_sums)
        return greatest + math.log(mean)

    @property
    def lead(self) -> Lead:
        """The greatest lead of all bets: the most likely start of a change, and the losses since then."""
        return max(self.leads, key=lambda lead: lead.log_stake)

    def after(
        self, bets: Bets, count: int, total: float, squares: float, *, at: float | None = None, limit: float = math.inf
    ) -> Detection:
        """Return the state after a batch of losses; an empty batch changes nothing.

        Args:
            bets: the same bets as for earlier batches.
            count: the number of losses.
            total: their sum.
            squares: the sum of their squares.
            at: the time of the batch.
            limit: the largest value of `ln(1 + S_k)`, so that a detector can recover after its alarm. Reducing `S` only
                makes false alarms rarer.

        >>> bets = Bets.on_errors(0.2)
        >>> calm = Detection.start(bets).after(bets, 1000, 200, 200)
        >>> changed = calm.after(bets, 200, 70, 70)  # 35 % errors
        >>> round(calm.evidence, 1), round(changed.evidence, 1), changed.lead.since
        (1.3, 15.8, 1000)
        """
        if count < 1:
            return self
        begun = Lead(0.0, self.count + count, at)
        more = math.log(count - 1) if count > 1 else None
        sums, leads = [], []
        factors = bets.log_factors(count, total, squares)
        for log_sum, lead, factor in zip(self.log_sums, self.leads, factors, strict=True):
            lent = log_sum if more is None else _log_add(log_sum, more)  # ln(S + count)
            sums.append(min(limit, _log_add(0.0, lent + factor)))
            stake = lead.log_stake + factor
            leads.append(Lead(stake, lead.since, lead.since_at, lead.total + total) if stake > 0.0 else begun)
        return Detection(self.count + count, tuple(sums), tuple(leads))


def _log_add(one: float, other: float) -> float:
    greater, less = (one, other) if one >= other else (other, one)
    return greater + math.log1p(math.exp(less - greater))
