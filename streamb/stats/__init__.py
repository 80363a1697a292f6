"""Statistics from counts: exact bounds, tests that may be looked at at any time, percentiles and distances.

Nothing here imports anything of streamb or a heavy library: the Controller calls it every second.
"""

from streamb.stats.binomial import binomial_lower, binomial_tail, binomial_upper
from streamb.stats.distance import CountDistance, jensen_shannon
from streamb.stats.percentile import PercentileComparison, compare_percentile, count_above, quantile_bin
from streamb.stats.sequential import (
    difference_bounds,
    fall_evidence,
    mean_bounds,
    proportion_bounds,
    proportion_evidence,
    rise_evidence,
)

__all__ = [
    "CountDistance",
    "PercentileComparison",
    "binomial_lower",
    "binomial_tail",
    "binomial_upper",
    "compare_percentile",
    "count_above",
    "difference_bounds",
    "fall_evidence",
    "jensen_shannon",
    "mean_bounds",
    "proportion_bounds",
    "proportion_evidence",
    "quantile_bin",
    "rise_evidence",
]
