import pytest

from streamb.metrics.criteria import Finding, Verdict, at_least, at_most, overall, with_enough

P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [([], I), ([P], P), ([P, P], P), ([P, I], I), ([I, F], F), ([P, F, I], F), ([I], I)],
)
def test_one_verdict_for_many(verdicts, expected):
    assert overall(Finding("c", verdict, "") for verdict in verdicts) is expected


@pytest.mark.parametrize(
    ("value", "proven", "expected"), [(None, True, I), (0.5, False, P), (0.5, True, P), (0.6, False, I), (0.6, True, F)]
)
def test_a_limit_from_above_and_from_below(value, proven, expected):
    assert at_most(value, 0.5, proven=proven) is expected
    assert at_least(None if value is None else 1 - value, 0.5, proven=proven) is expected


@pytest.mark.parametrize(
    ("verdict", "samples", "needed", "expected"),
    [(P, 9, 10, I), (P, 10, 10, P), (P, 0, 0, I), (P, 1, 0, P), (F, 1, 10, F), (I, 99, 10, I)],
)
def test_only_a_pass_needs_enough_samples(verdict, samples, needed, expected):
    assert with_enough(Finding("c", verdict, "so"), samples, needed, "requests").verdict is expected
