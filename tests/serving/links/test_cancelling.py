"""Calls, cancellations and replies in every order: what both ends of a link know of them stays right."""

import asyncio
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import ModelFailed, Unavailable
from streamb.serving.batch import BatchReply
from streamb.serving.links.frames import Kind
from streamb.serving.links.link import Link
from streamb.serving.links.server import LinkServer
from tests.serving.linked import SECRET, batch, until


class OneByOne:
    """A desk whose calls a test begins and ends by hand, one at a time."""

    def __init__(self) -> None:
        self.waiting, self.running, self.begun = [], None, []

    def submit(self, asked, told):
        work = (float(asked.rows[0, 0]), told)
        self.waiting.append(work)
        return work

    def drop(self, work) -> bool:
        if work in self.waiting:
            self.waiting.remove(work)
            return True
        return False

    def trouble(self) -> str:
        return ""

    def begin(self) -> None:
        if self.running is None and self.waiting:
            self.running = self.waiting.pop(0)
            self.begun.append(self.running[0])

    def end(self, *, fails: bool) -> None:
        if self.running is not None:
            (value, told), self.running = self.running, None
            told(ModelFailed("on purpose") if fails else BatchReply(np.array([value])))


STEPS = st.one_of(
    st.just(("call",)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.just(("begin",)),
    st.tuples(st.just("end"), st.booleans()),
    st.tuples(st.just("stray"), st.integers(0, 40)),
    st.just(("settle",)),
)


class Play:
    """Both ends of a link, and what a test does to them, step by step."""

    def __init__(self, desk, server, link) -> None:
        self.desk, self.server, self.link = desk, server, link
        self.calls, self.cancelled = [], set()

    async def step(self, name, *values) -> None:
        if name == "call":
            self.calls.append(self.link.call(batch(float(len(self.calls)))))
        elif name == "cancel" and self.calls:
            which = values[0] % len(self.calls)
            if self.calls[which].cancel():
                self.cancelled.add(which)
        elif name == "begin":
            self.desk.begin()
        elif name == "end":
            self.desk.end(fails=values[0])
        elif name == "stray":  # for calls that are over, or cancelled already, or were never made
            done = [number for number, call in enumerate(self.calls, 1) if call.done()]
            for number in [10_000 + values[0], *done[:3]]:
                self.link._side.send(struct.pack("!QBI", number, Kind.CANCEL, 0) * 2)
        else:
            await self.settled()

    async def settled(self) -> None:
        """Wait until both ends have read all that was sent; they must agree then."""
        desk, link = self.desk, self.link
        await until(lambda: self.server.calls == len(desk.waiting) + (desk.running is not None) == link.load)
        await until(lambda: link.pending == sum(not call.done() for call in self.calls))
        await until(lambda: not self.cancelled & {int(value) for value, _ in desk.waiting})

    async def finished(self) -> None:
        while True:
            await self.settled()
            if not self.link.load:
                break
            self.desk.begin()
            self.desk.end(fails=False)
        assert (self.link.pending, self.server.calls, self.link._abandoned) == (0, 0, set())
        for number, call in enumerate(self.calls):
            assert call.done()
            if number not in self.cancelled and call.exception() is None:
                assert call.result().predictions.tolist() == [float(number)]
        assert len(set(self.desk.begun)) == len(self.desk.begun)


async def play(steps) -> None:
    desk = OneByOne()
    server = LinkServer(desk, replica="r1", secret=SECRET)
    link = await Link.connect(await server.start("127.0.0.1"), SECRET, on_lost=lambda _: None)
    try:
        play = Play(desk, server, link)
        for step in steps:
            await play.step(*step)
        await play.finished()
    finally:
        link.close()
        await server.close(0)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_in_every_order_both_ends_agree_and_no_answer_is_mixed_up(steps):
    asyncio.run(play(steps))


async def test_a_cancelled_call_counts_until_the_replica_is_done_with_it(monkeypatch):
    monkeypatch.setattr("streamb.serving.links.link._MAX_PENDING", 3)
    desk = OneByOne()
    server = LinkServer(desk, replica="r1", secret=SECRET)
    link = await Link.connect(await server.start("127.0.0.1"), SECRET, on_lost=lambda _: None)
    calls = [link.call(batch(float(value))) for value in range(3)]
    await until(lambda: len(desk.waiting) == 3)
    desk.begin()
    for call in calls:
        call.cancel()
    await until(lambda: link.load == 1)  # two were forgotten, one runs
    for value in (3.0, 4.0):
        calls.append(link.call(batch(value)))
    with pytest.raises(Unavailable, match="has 3 calls"):
        link.call(batch())
    desk.end(fails=False)
    await until(lambda: link.load == 2)
    link.close()
    await server.close(0)
    for call in calls[3:]:
        assert type(call.exception()) is Unavailable


async def test_one_number_twice_is_no_sense():
    desk = OneByOne()
    server = LinkServer(desk, replica="r1", secret=SECRET)
    lost = []
    link = await Link.connect(await server.start("127.0.0.1"), SECRET, on_lost=lost.append)
    call = link.call(batch())
    await until(lambda: desk.waiting)
    link._side.send(struct.pack("!QBI", 1, Kind.CALL, 0))
    await until(lambda: lost)
    assert type(call.exception()) is Unavailable
    await until(lambda: not desk.waiting)
    await server.close(0)
