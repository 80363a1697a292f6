"""Which routing table a gateway has in force, whatever becomes of the pushes and pulls. No Ray runs here."""

import asyncio
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.cluster.gateway import Gateway
from streamb.traffic import ModelRoute, RoutingTable, Split, VersionTarget


class App:
    """The gateway's app; keeps the tables that it was given."""

    def __init__(self) -> None:
        self.table = RoutingTable()
        self.epochs = [0]

    def apply(self, table: RoutingTable) -> None:
        self.table = table
        self.epochs.append(table.epoch)

    def in_flight(self, app: str) -> int:
        return 0


class Replicas:
    """The links: `up` are the apps that answer; whoever waits for another waits until it is given up."""

    def __init__(self) -> None:
        self.up: set[str] = set()
        self.apps: frozenset[str] = frozenset()
        self.waits: list[asyncio.Future[None]] = []

    def connect(self, apps) -> frozenset[str]:
        return frozenset(apps) - self.up

    async def connected(self, apps) -> None:
        wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waits.append(wait)
        await wait

    def forget(self, apps) -> None:
        list(apps)


def gateway() -> SimpleNamespace:
    app = App()
    return SimpleNamespace(_app=app, _predictor=Replicas(), _expected={}, _clock=ManualClock(), _newest=app.table)


def table(epoch: int) -> RoutingTable:
    app = f"m--{epoch}.0.0--x"
    target = VersionTarget(f"{epoch}.0.0", app, {}, "other")
    route = ModelRoute("m", "s", Split.all_to(target.version), {target.version: target})
    return RoutingTable(epoch, {"m": route})


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_push_that_was_given_up_in_its_wait_is_taken_again():
    me = gateway()
    push = asyncio.create_task(Gateway._adopt(me, table(8)))
    await turns()
    push.cancel()
    await turns()
    me._predictor.up.add("m--8.0.0--x")
    await Gateway._adopt(me, table(8))
    assert (me._app.table.epoch, list(me._app.table.models)) == (8, ["m"])


EVENTS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 4)),
    st.tuples(st.just("give up"), st.integers(0, 9)),
    st.tuples(st.just("late"), st.integers(0, 9)),
    st.tuples(st.just("up"), st.integers(1, 4)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=25))
def test_the_newest_table_comes_into_force_whatever_was_given_up(events):
    """Pushes and pulls of any tables in any order, cancelled anywhere; then one more pull of the newest."""

    async def play() -> None:
        me, sent = gateway(), [1]
        tasks: list[asyncio.Task[None]] = []
        for event, number in events:
            if event == "send":
                sent.append(number)
                tasks.append(asyncio.create_task(Gateway._adopt(me, table(number))))
            elif event == "give up" and tasks:
                tasks[number % len(tasks)].cancel()
            elif event == "late" and me._predictor.waits:
                wait = me._predictor.waits[number % len(me._predictor.waits)]
                wait.done() or wait.set_result(None)
            elif event == "up":
                me._predictor.up.add(f"m--{number}.0.0--x")
            await turns()
        newest = max(sent)
        me._predictor.up.add(f"m--{newest}.0.0--x")
        await Gateway._adopt(me, table(newest))
        assert me._app.table == table(newest)
        assert me._app.epochs == sorted(me._app.epochs), "an older table never replaces a newer one"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert me._app.table == table(newest)

    asyncio.run(play())
