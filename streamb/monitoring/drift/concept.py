"""Concept drift: the version is wrong more often than it was in the baseline, as delayed labels show.

Every batch of labels goes into an e-detector (`streamb.stats.edetector`) that bets against the baseline's error: while
that has not changed, it raises on average at most one false alarm in 10,000 labels at high sensitivity, in 100,000 at
medium, and in 1,000,000 at low.

The baseline's error is only known from a sample. If the detector bet against the measured rate, a baseline that was
lucky would raise false alarms forever; with a bound that nearly always holds, it would find a small rise late. The
bound used here is exceeded by chance in 30 % of large baselines (whose error is well known, so little is at stake),
and in fewer the smaller the baseline and the rarer false alarms should be, so that the *mean* rate of false alarms
over all baselines is the promised one. `python -m benchmarks.concept` measures both effects.

The labels must arrive in about the order of the predictions, and must not depend too much on each other: such a
detector takes a minute of errors with one common cause for a minute of independent evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, ClassVar, Final

from streamb.errors import InvalidInput
from streamb.metrics.measures import kind_of_labels
from streamb.monitoring.drift.concept_alarm import ConceptDetector
from streamb.monitoring.drift.report import Sensitivity
from streamb.monitoring.profiles.performance import Performance
from streamb.stats.binomial import binomial_upper
from streamb.stats.edetector import Bets

_LARGE: Final[Mapping[Sensitivity, int]] = {Sensitivity.LOW: 9000, Sensitivity.MEDIUM: 4000, Sensitivity.HIGH: 1000}
"""The number of labels from which a baseline is large: measured, see the module's text."""
_EXCEEDED: Final = 0.3
_SHRINKS: Final = 0.65
_MICRO: Final = 1_000_000
_ROUNDED: Final = 0.5 / _MICRO
"""The largest rounding error of a loss that is counted in whole millionths."""
_LEAST_MEAN: Final = 1.0 / _MICRO
_CERTAIN: Final = 1e-9
"""Keeps the bound on an error rate away from 0 and 1."""


def baseline_confidence(labels: int, sensitivity: Sensitivity) -> float:
    """Return the confidence (0 to 1) with which the baseline's error is below the bound that is bet against.

    >>> [round(baseline_confidence(labels, Sensitivity.MEDIUM), 2) for labels in (100, 1000, 5000)]
    [0.97, 0.88, 0.7]
    """
    size: float = (labels / _LARGE[sensitivity]) ** _SHRINKS
    return 1.0 - _EXCEEDED * min(1.0, size)


class ErrorDetector(ConceptDetector):
    """Watches for a rise of the error rate (classification).

    Args:
        errors: the number of errors in the baseline.
        labels: the number of labels in the baseline.
        sensitivity: how small a rise is reported, and how rare false alarms are.

    Raises:
        InvalidInput: the baseline has no labels, or more errors than labels.

    >>> detector = ErrorDetector(1000, 5000, Sensitivity.MEDIUM)
    >>> detector.update(1000, 200)
    >>> detector.update(400, 120, at=86400.0)
    >>> detector.drifted, detector.report().current
    (True, 0.3)
    """

    kind: ClassVar[str] = "errors"
    measure: ClassVar[str] = "error rate"

    def __init__(self, errors: int, labels: int, sensitivity: Sensitivity = Sensitivity.MEDIUM) -> None:
        if not 0 <= errors <= labels or not labels:
            raise InvalidInput(f"a baseline with {errors} errors of {labels} labels is not usable; give it labels")
        confidence = baseline_confidence(labels, Sensitivity(sensitivity))
        bound = min(max(binomial_upper(errors, labels, confidence), _CERTAIN), 1.0 - _CERTAIN)
        super().__init__(Bets.on_errors(bound), errors / labels, sensitivity, errors=errors, labels=labels)

    def update(self, labels: int, errors: int, at: float | None = None) -> None:
        """Add labels with so many errors among them; `at` is when they came, in seconds of a clock.

        Raises:
            InvalidInput: there are more errors than labels, or a number is negative.
        """
        if not 0 <= errors <= labels:
            raise InvalidInput(f"{errors} errors of {labels} labels cannot be")
        self._take(labels, errors, errors, at)

    def observe(self, feedback: Mapping[str, int], at: float | None = None) -> None:
        # If the baseline has classes but the version answers numbers, an answer is not simply right or wrong.
        if kind_of_labels(feedback) != "regression":
            labels = feedback.get("labels", 0)
            self.update(labels, labels - feedback.get("correct", 0), at)

    def _shown(self, value: float) -> str:
        return f"{value:.1%}".replace("%", " %")


class LossDetector(ConceptDetector):
    """Watches for a rise of the mean absolute error (regression). Errors need no upper bound: a few huge ones do not
    raise the alarm, since they might be chance; many larger ones do.

    Args:
        mean: mean absolute error of the baseline.
        deviation: standard deviation of the baseline's absolute errors.
        labels: the number of labels in the baseline.
        sensitivity: how small a rise is reported, and how rare false alarms are.

    Raises:
        InvalidInput: the baseline has no labels, or a number is negative or not finite.
    """

    kind: ClassVar[str] = "losses"
    measure: ClassVar[str] = "mean absolute error"

    def __init__(
        self, mean: float, deviation: float, labels: int, sensitivity: Sensitivity = Sensitivity.MEDIUM
    ) -> None:
        if labels < 1 or not (0.0 <= mean < math.inf and 0.0 <= deviation < math.inf):
            raise InvalidInput(f"a mean error of {mean:g} ± {deviation:g} over {labels} labels is no baseline")
        z = NormalDist().inv_cdf(baseline_confidence(labels, Sensitivity(sensitivity)))
        bound = max(mean + z * deviation / math.sqrt(labels), _LEAST_MEAN)
        given = {"mean": mean, "deviation": deviation, "labels": labels}
        super().__init__(Bets.on_losses(bound, deviation), mean, sensitivity, **given)

    def update(self, labels: int, losses: float, squares: float, at: float | None = None) -> None:
        """Add the absolute errors of so many labels.

        Args:
            labels: the number of labels.
            losses: the sum of their absolute errors.
            squares: the sum of the squares of these errors.
            at: when they came, in seconds of a clock.

        Raises:
            InvalidInput: a number is negative or not finite.
        """
        if labels < 0 or not (0.0 <= losses < math.inf and 0.0 <= squares < math.inf):
            raise InvalidInput(f"{labels} errors cannot add up to {losses:g}, nor their squares to {squares:g}")
        if labels:
            # After rounding, the sum of squares may be smaller than any errors with this sum can have.
            self._take(labels, losses, max(squares, losses * losses / labels), at)

    def observe(self, feedback: Mapping[str, int], at: float | None = None) -> None:
        if kind_of_labels(feedback) == "classification":
            return  # there is no distance between classes
        labels = feedback.get("labels", 0)
        # Rounded so that no alarm is raised by the rounding of errors of a few millionths.
        losses = max(0.0, feedback.get("error_micro", 0) / _MICRO - labels * _ROUNDED)
        squares = feedback.get("squared_error_micro", 0) / _MICRO + labels * _ROUNDED
        self.update(labels, losses, squares, at)


def detector_for(performance: Performance, sensitivity: Sensitivity = Sensitivity.MEDIUM) -> ConceptDetector:
    """Return a detector for the baseline's task: classification or regression.

    Raises:
        InvalidInput: the baseline has no labels.
    """
    if performance.task == "classification":
        return ErrorDetector(performance.errors, performance.labels, sensitivity)
    return LossDetector(performance.mean_loss, performance.loss_scale, performance.labels, sensitivity)


def detector_from_json(document: Mapping[str, Any]) -> ConceptDetector:
    """Return the detector that `to_json` described, with its state.

    Raises:
        InvalidInput: this release does not have a detector of that kind.
    """
    kinds: dict[str, type[ErrorDetector | LossDetector]] = {one.kind: one for one in (ErrorDetector, LossDetector)}
    if document["kind"] not in kinds:
        raise InvalidInput(f"there is no concept detector {document['kind']!r}")
    detector = kinds[document["kind"]](**document["baseline"], sensitivity=Sensitivity(document["sensitivity"]))
    return detector.restore(document)
