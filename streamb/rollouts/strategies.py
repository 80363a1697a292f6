"""Strategies as data: the shares of the traffic that a version gets step by step, and what each step requires."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from streamb.errors import InvalidInput
from streamb.hashing import BASIS_POINTS
from streamb.rollouts.options import RUN_OPTIONS, START, RolloutOptions


class Strategy(StrEnum):
    """How a new version takes over traffic."""

    IMMEDIATE = "immediate"
    BLUE_GREEN = "blue_green"
    CANARY = "canary"
    ROLLING = "rolling"


@dataclass(frozen=True, slots=True)
class Step:
    """One share of the traffic, and the conditions for the next step.

    Attributes:
        share: ten-thousandths of the model's traffic; with 0 only a header selects the version, and copies of stable's
            requests reach it: a preview.
        min_time_s: the shortest time that the step is watched.
        max_time_s: if the evidence is still inconclusive after this time, an approval is required.
        min_samples: the fewest judged requests of the target version with which a criterion can pass; in a preview the
            fewest copies that both versions answered.
        gate: whether an approval is required before the step begins.
        analyse: whether the step must be judged to pass; otherwise only a failure has an effect.
    """

    share: int
    min_time_s: float = 0.0
    max_time_s: float = 0.0
    min_samples: int = 0
    gate: bool = False
    analyse: bool = True

    @property
    def weight(self) -> float:
        """Percent of the model's traffic."""
        return self.share / 100

    @property
    def preview(self) -> bool:
        """True for a step in which the version gets copies of requests, but no traffic."""
        return self.share == 0


CANARY_PERCENTS: Final = (1.0, 5.0, 25.0, 50.0, 100.0)
"""The default steps of a canary; one with another first step continues with the steps above it."""
MOST_WAVES: Final = 10
"""The most steps of a rolling deployment; with more replicas it moves several at once."""
STEP_SECONDS: Final = {Strategy.CANARY: 15.0, Strategy.ROLLING: 10.0, Strategy.BLUE_GREEN: 10.0}
STEP_MAX_SECONDS: Final = 600.0
SMALL_SAMPLES: Final = 50
"""Judged requests required by a step whose next step has at most 10 % of the traffic."""
SAMPLES: Final = 200
PROOF_SAMPLES: Final = 3_000
"""Required before half of the traffic moves: enough to detect errors doubled to 4 %, or a p95 that rose by 30 %."""
HALF_SAMPLES: Final = 500
UNPROVEN_SAMPLES: Final = 100
"""Required by a step that is not judged to pass: with fewer requests only the fast abort can fail it."""
PREVIEW_PAIRS: Final = 300
"""Pairs of answers that a preview needs if it must pass: with 100, one change of 5 % of the labels in eight passed."""
PREVIEW_SECONDS: Final = 5.0
"""The shortest time of a preview, unless the user asks for a share of the requests to be copied."""
PREVIEW_MAX_SECONDS: Final = 60.0
"""A preview that must pass asks for an approval after this time; it still goes on by itself when the copies come."""
COPIES_PER_SECOND: Final = 20
"""The most copies that each gateway makes of a model's requests in a second."""
HOLD_SECONDS: Final = {Strategy.CANARY: 60.0, Strategy.ROLLING: 60.0, Strategy.BLUE_GREEN: 300.0}
AT_ONCE: Final = (Step(BASIS_POINTS, analyse=False),)
"""All traffic as soon as the version runs."""


def plan(
    strategy: Strategy,
    options: RolloutOptions,
    *,
    replicas: int = 1,
    first: bool = False,
    most_unjudged: int = BASIS_POINTS,
) -> tuple[Step, ...]:
    """Return the steps of a deployment.

    Args:
        strategy: how it proceeds.
        options: the options of the strategy.
        replicas: number of replicas that serve now; a rolling deployment replaces them one by one.
        first: whether no version serves yet, so that there is nothing to compare with or to take traffic from.
        most_unjudged: ten-thousandths of the traffic above which a rolling deployment does not begin.

    Raises:
        InvalidInput: an option is not used by the strategy, or names a step that it does not have.

    >>> [step.weight for step in plan(Strategy.CANARY, RolloutOptions(traffic_split_percentage=10))]
    [0.0, 10.0, 25.0, 50.0, 100.0]
    """
    check_used(strategy, options)
    if strategy is Strategy.IMMEDIATE:
        return AT_ONCE
    steps = _with_gates(strategy, _moving(strategy, options, replicas, most_unjudged), options)
    if first:
        return (replace(AT_ONCE[0], gate=any(step.gate for step in steps)),)
    return steps


def hold_seconds(strategy: Strategy, options: RolloutOptions) -> float:
    """Return for how many seconds the old version is kept warm after the new one has taken over."""
    return HOLD_SECONDS.get(strategy, 0.0) if options.hold_seconds is None else options.hold_seconds


def check_used(strategy: Strategy, options: RolloutOptions) -> None:
    """Raise InvalidInput if an option is given that the strategy ignores, even if it equals the default."""
    given = options.model_fields_set
    unused = given - RUN_OPTIONS - {"accept_changes"} if strategy is Strategy.IMMEDIATE else set()
    if strategy in {Strategy.BLUE_GREEN, Strategy.ROLLING}:
        unused = given & {"traffic_split_percentage", "steps"}
    if strategy is Strategy.CANARY and given >= {"traffic_split_percentage", "steps"}:
        raise InvalidInput("give either steps or traffic_split_percentage: the first of steps is where a canary begins")
    if unused:
        raise InvalidInput(f"the strategy {strategy} does not use {', '.join(sorted(unused))}: leave it out")


def _moving(strategy: Strategy, options: RolloutOptions, replicas: int, most_unjudged: int) -> list[Step]:
    """Return the steps: a preview, and those that move traffic; the last one moves all of it and need not pass.

    The preview must pass if no step follows that has a part of the traffic and must pass.
    """
    seconds = STEP_SECONDS[strategy] if options.step_seconds is None else options.step_seconds
    longest = STEP_MAX_SECONDS if options.step_max_seconds is None else options.step_max_seconds
    shares = _shares(strategy, options, replicas, most_unjudged)
    steps = [
        Step(
            share,
            seconds,
            max(longest, seconds),
            options.min_samples or samples_of(shares, index),
            analyse=share < BASIS_POINTS,
        )
        for index, share in enumerate(shares)
    ]
    shortest = seconds if options.shadow else min(seconds, PREVIEW_SECONDS)
    most = longest if options.step_max_seconds is not None else PREVIEW_MAX_SECONDS
    must_pass = not steps[0].analyse
    if must_pass:
        proof = options.min_samples or PREVIEW_PAIRS
    else:
        proof = min(options.min_samples or UNPROVEN_SAMPLES, UNPROVEN_SAMPLES)
    return [Step(0, shortest, max(most, shortest), proof, analyse=must_pass), *steps]


def copying(options: RolloutOptions, steps: tuple[Step, ...]) -> tuple[int, int]:
    """Return the share of the requests that is copied in the preview, and the most copies per second and gateway.

    The share is in ten-thousandths; a limit of 0 copies per second is none. A share that the user gives has no limit.
    """
    if not steps[0].preview:
        return 0, 0
    return (BASIS_POINTS, COPIES_PER_SECOND) if options.shadow_percent is None else (options.shadow, 0)


def samples_of(shares: list[int], index: int) -> int:
    """Return how many judged requests a step requires. `benchmarks/rollout_statistics.py` measures their effect.

    >>> shares = [100, 500, 2_500, 5_000, 10_000]
    >>> [samples_of(shares, index) for index in range(5)]
    [50, 200, 3000, 500, 100]
    """
    share, half = shares[index], BASIS_POINTS // 2
    if share == BASIS_POINTS:
        return UNPROVEN_SAMPLES
    following = shares[index + 1]
    if share < half <= following or (index == 0 and share >= half):
        return PROOF_SAMPLES
    if share >= half:
        return HALF_SAMPLES
    return SMALL_SAMPLES if following <= BASIS_POINTS // 10 else SAMPLES


def _shares(strategy: Strategy, options: RolloutOptions, replicas: int, most_unjudged: int) -> list[int]:
    if strategy is Strategy.BLUE_GREEN:
        return [BASIS_POINTS]
    if strategy is Strategy.ROLLING:
        # At least two waves: the first one is judged while the old version still answers the other half.
        waves = min(max(replicas, 2), MOST_WAVES)
        shares = [BASIS_POINTS * wave // waves for wave in range(1, waves + 1)]
        return [most_unjudged, *shares] if 0 < most_unjudged < shares[0] else shares
    percents = options.steps
    if not percents:
        start = CANARY_PERCENTS[0] if options.traffic_split_percentage is None else options.traffic_split_percentage
        percents = (start, *(percent for percent in CANARY_PERCENTS if percent > start))
    shares = list(dict.fromkeys(round(percent * 100) for percent in percents))  # 24.999 percent is the same as 25
    return shares if shares[-1] == BASIS_POINTS else [*shares, BASIS_POINTS]


def _with_gates(strategy: Strategy, steps: list[Step], options: RolloutOptions) -> tuple[Step, ...]:
    """Return the steps with a gate before each one that the options name."""
    wanted = {round(gate * 100) for gate in options.gates if isinstance(gate, float)}
    unknown = wanted - {step.share for step in steps if step.share}
    if unknown:
        named = ", ".join(f"{share / 100:g}" for share in sorted(unknown))
        known = ", ".join(f"{step.weight:g}" for step in steps if step.share)
        raise InvalidInput(f"approval_before names {named} percent, but the {strategy} steps are {known}")
    if options.approval_required:
        wanted.add(next(step.share for step in steps if step.share))
    if START in options.gates:
        wanted.add(0)
    return tuple(replace(step, gate=step.share in wanted) for step in steps)
