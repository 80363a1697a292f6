from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.monitoring.collection.panes import HOURS_KEPT, MINUTES_KEPT, Panes

NOW = 30_000_000


@dataclass(frozen=True)
class Count:
    n: int

    def __add__(self, other):
        return Count(self.n + other.n)


def filled(counts):
    panes = Panes()
    for pane, n in counts:
        panes.add(pane, Count(n))
    return panes


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(NOW - 100, NOW), st.integers(1, 9)), min_size=1), st.integers(1, 110))
def test_a_window_is_the_sum_of_its_minutes_in_any_order(counts, minutes):
    expected = sum(n for pane, n in counts if pane > NOW - minutes)
    found = filled(sorted(counts, reverse=True)).window(NOW, minutes)
    assert (found.n if found else 0) == expected
    assert found == filled(counts).window(NOW, minutes)


def test_older_minutes_become_hours_and_nothing_is_lost_on_the_way():
    panes = filled((NOW - ago, 1) for ago in range(600, -1, -1))
    assert panes.window(NOW, 100_000).n == 601
    first_whole_hour = -(-(NOW - 299) // 60) * 60
    assert panes.window(NOW, 300).n == NOW - first_whole_hour + 1


def test_a_late_minute_finds_its_hour():
    panes = filled([(NOW, 1), (NOW - MINUTES_KEPT - 10, 5)])
    assert panes.window(NOW, 100_000).n == 6


def test_it_is_bounded_and_forgets_after_a_week():
    panes = filled((minute, 1) for minute in range(NOW - 12_000, NOW + 1, 7))
    kept = Counter("hour" if n.n > 1 else "minute" for _, n in panes.items())
    assert kept["minute"] <= MINUTES_KEPT
    assert kept["hour"] <= HOURS_KEPT
    before = panes.window(NOW, 1_000_000)
    panes.add(NOW - 100_000, Count(1_000))
    assert panes.window(NOW, 1_000_000) == before


def test_time_set_back_leaves_every_count_and_no_later_pane():
    for back in (0, 1, 50, 130, 3_000):
        panes = filled((NOW - ago, 1) for ago in range(600, -1, -1))
        panes.rewind(NOW - back)
        assert (panes.newest, sum(one.n for _, one in panes.items())) == (NOW - back, 601)
        assert all(pane <= NOW - back for pane, _ in panes.items())
        panes.add(NOW - back + 1, Count(1))
        assert panes.window(NOW - back + 1, 10_000).n == 602


def test_panes_from_what_they_hold_are_the_same():
    panes = filled((NOW - ago * 11, ago) for ago in range(50, -1, -1))
    again = Panes()
    for pane, counts in panes.items():
        again.add(pane, counts)
    assert list(again.items()) == list(panes.items())
    assert Panes().window(NOW, 5) is None
