"""What the benchmark concludes from samples."""

from __future__ import annotations

import pytest

from benchmarks.loadgen import LoadResult
from benchmarks.report import GOALS, Sample, Spread, conclusion, judge, paired_ratio, table


def result(rate: float, p50_ms: float = 1.0, bad_status: int = 0) -> LoadResult:
    requests = round(rate * 10)
    return LoadResult(requests, 10.0, bad_status, 0, 0, p50_ms, p50_ms * 2, p50_ms * 3)


def rounds(server: str, connections: int, *rates: float, p50_ms: float = 1.0) -> list[Sample]:
    return [Sample(server, connections, index, result(rate, p50_ms)) for index, rate in enumerate(rates)]


PASSING = [
    *rounds("a", 64, 8000, 4000, 8000),
    *rounds("b", 64, 1600, 800, 1600),
    *rounds("c", 64, 150, 75, 150),
    *rounds("d", 64, 900, 450, 900),
    *rounds("a", 1, 400, p50_ms=0.9),
    *rounds("b", 1, 1600, p50_ms=0.6),
]


def test_ratios_are_taken_within_a_round() -> None:
    assert paired_ratio(PASSING, "b", 64, "requests/s") == Spread(5.0, 5.0, 5.0)
    assert paired_ratio(PASSING, "b", 16, "requests/s") is None


def test_a_round_that_one_side_lacks_is_left_out() -> None:
    samples = [*rounds("a", 64, 100, 200), *rounds("b", 64, 50)]
    assert paired_ratio(samples, "b", 64, "requests/s") == Spread(2.0, 2.0, 2.0)


def test_all_goals_met_is_a_pass() -> None:
    lines, passed = conclusion(PASSING)
    assert passed
    assert lines.count("PASS") == len(GOALS) + 1
    assert "at 64 connections: requests/s of a ≥ 5 x b: measured 5.00 (5.00 to 5.00)" in lines


@pytest.mark.parametrize(
    ("worse", "failing"),
    [
        (rounds("b", 64, 4000, 2000, 4000), "x b"),
        (rounds("c", 64, 250, 125, 250), "x c"),
        (rounds("d", 64, 1600, 800, 1600), "x d"),
        (rounds("b", 1, 1600, p50_ms=0.4), "p50"),
    ],
)
def test_each_goal_can_fail(worse: list[Sample], failing: str) -> None:
    replaced = {(sample.server, sample.connections) for sample in worse}
    samples = [*worse, *(s for s in PASSING if (s.server, s.connections) not in replaced)]
    lines, passed = conclusion(samples)
    assert not passed
    assert [line for line in lines.splitlines() if line.startswith("FAIL") and failing in line]


def test_one_failed_request_is_a_fail() -> None:
    _, passed = conclusion([*PASSING, Sample("b", 16, 0, result(100, bad_status=1))])
    assert not passed


def test_goals_without_measurements_are_not_judged() -> None:
    assert judge(rounds("a", 64, 1000)) == []


def test_the_table_has_a_line_per_server_and_connections() -> None:
    text = table(PASSING, {"a": "streamb", "b": "FastAPI", "c": "Serve", "d": "LitServe"})
    (line,) = [line for line in text.splitlines() if "(c) Serve" in line]
    assert line.split() == [
        "(c)",
        "Serve",
        "150",
        "(75",
        "to",
        "150)",
        "1.00",
        "2.00",
        "0",
        "53.3",
        "(53.3",
        "to",
        "53.3)",
    ]
    assert text.index("1 connection\n") < text.index("64 connections\n")
