"""Aggregators of nodes between sources and the Monitor: the same bits as without, whatever dies."""

import random
from dataclasses import replace

import numpy as np
import pytest

from streamb.clock import ManualClock
from streamb.metrics import Snapshot
from streamb.monitoring.collection.aggregator import Aggregator
from streamb.monitoring.collection.panes import pane_of
from streamb.monitoring.collection.push import Member, PaneCounts, Push, SourceOutcomes, pack_snapshots
from streamb.monitoring.collection.tree import NodeAggregator, merged
from streamb.monitoring.profiles.profile import Profile
from tests.monitoring.sources import MODEL, START, VERSION

COUNTERS = 60


def push_of(source: str, sequence: int, rng: np.random.Generator, panes: int = 1) -> Push:
    def pane(ago: int) -> PaneCounts:
        counters = rng.integers(0, 50, COUNTERS)
        return PaneCounts(
            MODEL, VERSION, pane_of(START) - ago, "bins", Profile("bins", counters).to_bytes(), int(counters[0])
        )

    return Push((Member(source, "i", sequence, MODEL, VERSION, "bins"),), tuple(pane(ago) for ago in range(panes)))


def total(aggregator: Aggregator) -> tuple:
    window = aggregator.window(MODEL, VERSION, 10, "bins")
    return window, aggregator.totals(MODEL, VERSION)


def flat(pushes) -> tuple:
    aggregator = Aggregator(ManualClock(START))
    for push in pushes:
        aggregator.receive(push)
    return total(aggregator)


def send(node: NodeAggregator, root: Aggregator) -> int:
    """Everything that waits at a node goes up; returns how many sources were answered."""
    answered = 0
    while (push := node.take()) is not None:
        answered += len(node.acknowledged(push, root.receive(push)))
    return answered


def test_ten_thousand_sources_through_a_hundred_nodes_equal_one_flat_pass():
    rng = np.random.default_rng(0)
    few = [push_of(f"t{number}", 1, rng) for number in range(50)]  # so many different contents are enough
    pushes = [
        Push((Member(f"r{number}", "i", 1, MODEL, VERSION, "bins"),), few[number % 50].panes)
        for number in range(10_000)
    ]
    root, nodes = Aggregator(ManualClock(START)), [NodeAggregator() for _ in range(100)]
    for number, push in enumerate(pushes):
        nodes[number % 100].join(push)
    answered = sum(send(node, root) for node in nodes)
    assert answered == 10_000
    once, rows = flat(few)
    assert total(root) == (Profile("bins", once.counters * 200), replace(rows, rows=rows.rows * 200))
    assert len(root.sources()) == 10_000


class Chaos:
    """Sources that push by any way, to nodes that die, with answers that get lost; every choice is a coin's."""

    def __init__(self, seed: int) -> None:
        self.coin = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.root = Aggregator(ManualClock(START))
        self.nodes = [NodeAggregator() for _ in range(3)]
        self.sequences = dict.fromkeys((f"r{number}" for number in range(12)), 0)
        self.in_hand: dict[str, Push] = {}
        self.sent: list[Push] = []

    def fill(self) -> None:
        """Every source that was answered has something new to say."""
        for source in self.sequences.keys() - self.in_hand.keys():
            self.sequences[source] += 1
            self.in_hand[source] = push_of(source, self.sequences[source], self.rng, panes=2)
            self.sent.append(self.in_hand[source])

    def send_one(self) -> None:
        """Some source pushes, not for the first time perhaps, to a node or to the root itself."""
        source, way = self.coin.choice(sorted(self.in_hand)), self.coin.randrange(4)
        if way < 3:
            self.nodes[way].join(self.in_hand[source])
            return
        self.root.receive(self.in_hand[source])
        if self.coin.random() < 0.5:
            del self.in_hand[source]

    def run_node(self) -> None:
        """Some node sends what it has, or dies; what it had is still in its sources' hands."""
        which = self.coin.randrange(3)
        if self.coin.random() < 0.1:
            self.nodes[which] = NodeAggregator()
        push = self.nodes[which].take()
        if push is None or self.coin.random() < 0.1:
            return
        ack = self.root.receive(push)
        if self.coin.random() < 0.3:
            return  # the answer is lost
        for member, _ in self.nodes[which].acknowledged(push, ack).values():
            if (held := self.in_hand.get(member.source)) and held.members == (member,):
                del self.in_hand[member.source]


@pytest.mark.parametrize("seed", range(5))
def test_lost_answers_dead_nodes_and_sources_that_move_change_nothing(seed):
    chaos = Chaos(seed)
    for _ in range(250):
        chaos.fill()
        chaos.send_one()
        chaos.run_node()
    for push in chaos.in_hand.values():
        chaos.root.receive(push)
    assert max(chaos.sequences.values()) > 3, "something got through"
    assert total(chaos.root) == flat(chaos.sent)


def test_a_source_hears_what_concerns_it():
    rng, root, node = np.random.default_rng(0), Aggregator(ManualClock(START)), NodeAggregator()
    first, second = push_of("a", 1, rng), push_of("b", 1, rng)
    root.receive(first)
    node.join(first)
    node.join(second)
    push = node.take()
    ack = root.receive(push)
    assert ack.counted_before == first.members
    assert list(node.acknowledged(push, ack)) == [("a", "i")], "b is not safe yet"
    again = node.take()
    assert again.members == second.members
    assert list(node.acknowledged(again, root.receive(again))) == [("b", "i")]
    assert node.take() is None


def test_standings_of_gateways_pass_unmerged():
    pushes = []
    for number in (1, 2, 3):
        standing = pack_snapshots([Snapshot(MODEL, VERSION, {"ok": number})])
        name = f"g{number}"
        pushes.append(Push((Member(name, "i", 1),), outcomes=(SourceOutcomes(name, "i", standing),)))
    root = Aggregator(ManualClock(START))
    root.receive(merged(pushes))
    assert root.outcomes_total(MODEL, VERSION).ok == 6


def test_counts_that_cannot_be_added_go_along_and_are_judged_at_the_root(caplog):
    rng = np.random.default_rng(0)
    good = push_of("a", 1, rng)
    bad = Push(
        (Member("b", "i", 1, MODEL, VERSION),),
        (PaneCounts(MODEL, VERSION, pane_of(START), "bins", b"damaged", rows=5),),
    )
    root = Aggregator(ManualClock(START))
    root.receive(merged([good, bad]))
    found = root.totals(MODEL, VERSION)
    assert (found.rows, found.damaged) == (good.panes[0].rows, 5)


def test_aggregators_are_not_stacked():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="single sources"):
        NodeAggregator().join(merged([push_of("a", 1, rng), push_of("b", 1, rng)]))
