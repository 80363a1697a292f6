"""What was acknowledged is there after any crash."""

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from streamb.clock import ManualClock
from streamb.errors import ArtifactCorrupt, StorageFailed
from streamb.metrics import Snapshot
from streamb.monitoring.collection.aggregator import Aggregator
from streamb.monitoring.collection.aggregator_state import encode_state
from streamb.monitoring.collection.push import Member, Push, SourceOutcomes, pack_snapshots
from streamb.store import durable
from streamb.store.durable import DurableLog
from tests.monitoring.sources import MODEL, START, VERSION, baseline, fed, table


@pytest.fixture
def clock():
    return ManualClock(START)


def opened(folder: Path) -> DurableLog:
    return DurableLog(folder, linger_s=0.0)


def reopened(folder: Path, clock: ManualClock) -> Aggregator:
    return Aggregator(clock, opened(folder))


def written(folder: Path, *records: bytes) -> None:
    log = opened(folder)
    for record in records:
        log.wait(log.append(record))
    log.close()


def read(folder: Path) -> tuple[bytes | None, list[bytes]]:
    log = opened(folder)
    found = log.recover()
    records = list(found.records)
    log.close()
    return found.snapshot, records


class TestLog:
    def test_records_come_back_in_order_over_many_lives(self, tmp_path):
        for life in range(3):
            written(tmp_path, *(f"{life}-{number}".encode() for number in range(4)))
        assert read(tmp_path) == (None, [f"{life}-{number}".encode() for life in range(3) for number in range(4)])

    def test_cut_at_any_byte_it_holds_every_record_that_was_whole(self, tmp_path):
        records = [b"first", b"", b"third" * 20]
        written(tmp_path / "whole", *records)
        (segment,) = (tmp_path / "whole").iterdir()
        content = segment.read_bytes()
        ends = [8 + 5, 8 + 5 + 8, len(content)]
        for cut in range(len(content) + 1):
            folder = tmp_path / str(cut)
            folder.mkdir()
            (folder / segment.name).write_bytes(content[:cut])
            whole = sum(end <= cut for end in ends)
            assert list(durable._records(folder / segment.name)) == records[:whole]
        written(tmp_path / "30", b"later")
        assert read(tmp_path / "30") == (None, [b"first", b"", b"later"]), "a torn end hides nothing that follows"

    def test_a_snapshot_replaces_what_was_before_it(self, tmp_path):
        log = opened(tmp_path)
        log.append(b"old")
        number = log.rotate()
        log.wait(log.append(b"new"))
        log.save_snapshot(number, b"state")
        log.close()
        assert read(tmp_path) == (b"state", [b"new"])

    def test_a_crash_between_rotation_and_snapshot_loses_nothing(self, tmp_path):
        log = opened(tmp_path)
        log.append(b"old")
        log.rotate()
        log.wait(log.append(b"new"))
        log.close()
        assert read(tmp_path) == (None, [b"old", b"new"])

    def test_a_damaged_snapshot_is_replaced_by_the_one_before_and_all_records_since(self, tmp_path):
        log = opened(tmp_path)
        for life in (b"1", b"2", b"3"):
            log.wait(log.append(b"record " + life))
            log.save_snapshot(log.rotate(), b"state " + life)
        log.wait(log.append(b"record 4"))
        log.close()
        newest = max(tmp_path.glob("snapshot-*"))
        newest.write_bytes(newest.read_bytes()[:-1])
        assert read(tmp_path) == (b"state 2", [b"record 3", b"record 4"])
        assert len(list(tmp_path.iterdir())) <= 5, "older files are gone"

    def test_many_records_share_few_syncs(self, tmp_path):
        log = DurableLog(tmp_path, linger_s=0.02)
        waits = [threading.Thread(target=lambda n=n: log.wait(log.append(b"%d" % n))) for n in range(200)]
        for wait in waits:
            wait.start()
        for wait in waits:
            wait.join()
        log.close()
        assert log.syncs <= 40
        assert sorted(read(tmp_path)[1]) == sorted(b"%d" % n for n in range(200))

    def test_a_full_disk_is_said_and_what_waited_is_written_later(self, tmp_path, monkeypatch):
        monkeypatch.setattr(durable, "RETRY_S", 0.01)
        log = opened(tmp_path)
        log.wait(log.append(b"before"))
        real, full = os.fsync, threading.Event()
        full.set()

        def fsync(descriptor: int) -> None:
            if full.is_set():
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(durable.os, "fsync", fsync)
        ticket = log.append(b"during")
        with pytest.raises(StorageFailed, match="No space left"):
            log.wait(ticket)
        full.clear()
        for _ in range(500):
            try:
                log.wait(ticket)
                break
            except StorageFailed:
                threading.Event().wait(0.01)
        log.wait(log.append(b"after"))
        log.close()
        assert set(read(tmp_path)[1]) == {b"before", b"during", b"after"}

    def test_a_folder_that_cannot_be_made_is_an_error_of_storage(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageFailed, match="cannot be used"):
            DurableLog(tmp_path / "file")


class TestAggregator:
    def test_it_goes_on_where_it_was(self, tmp_path, clock):
        one = fed(clock, 100)
        before = reopened(tmp_path, clock)
        push = one.take()
        before.receive(push)
        standing = Snapshot(MODEL, VERSION, counts={"ok": 7}, predictions={"a": 3})
        told = Push((Member("g", "i", 1),), outcomes=(SourceOutcomes("g", "i", pack_snapshots([standing])),))
        before.receive(told)
        before.close()
        after = reopened(tmp_path, clock)
        after.receive(push)  # the answer was lost with the process
        after.receive(told)
        assert after.window(MODEL, VERSION, 1, baseline().baseline_id) == baseline().fold(*table(100))
        assert after.outcomes_total(MODEL, VERSION).counts == {"ok": 7}
        assert after.totals(MODEL, VERSION).rows == 100
        after.close()

    def test_nothing_is_counted_twice_after_it_was_away_for_days(self, tmp_path, clock):
        """Each source sends again what it had no answer to, and hears of the others' pushes nothing."""
        pushes = [fed(clock, 10, source=f"r{number}").take() for number in range(3)]
        before = reopened(tmp_path, clock)
        for push in pushes:
            before.receive(push)
        before.close()
        clock.advance(3 * 86_400)
        for push in pushes:
            after = reopened(tmp_path, clock)
            after.receive(Push((Member("other", str(clock.now()), 1, MODEL, VERSION),)))
            after.receive(push)
            after.close()
            clock.advance(100)
        assert after.totals(MODEL, VERSION).rows == 30

    def test_a_clock_that_was_set_back_is_set_back_when_records_are_read_again(self, tmp_path, clock):
        clock.advance(86_400 * 30)
        before = reopened(tmp_path, clock)
        before.receive(fed(clock, 10).take())
        clock._now -= 86_400 * 30
        before.receive(fed(clock, 5, source="r2").take())
        before.close()
        clock.advance(20)
        after = reopened(tmp_path, clock)
        assert after.window(MODEL, VERSION, 1, baseline().baseline_id).rows == 15
        assert encode_state(replace(before._state(), at=0.0)) == encode_state(replace(after._state(), at=0.0))
        after.close()

    def test_the_same_from_a_snapshot_as_from_the_records(self, tmp_path, clock):
        first = reopened(tmp_path, clock)
        for number in range(6):
            first.receive(fed(clock, 10 + number, number, source=f"r{number}", baseline=None).take())
            first.receive(fed(clock, 10 + number, number, source=f"s{number}").take())
            standing = Snapshot(MODEL, VERSION, counts={"ok": 5 * number}, rows=number)
            data = pack_snapshots([standing])
            first.receive(Push((Member("g", "i", number + 1),), outcomes=(SourceOutcomes("g", "i", data),)))
            clock.advance(45)
        first.close()
        replayed = reopened(tmp_path, clock)
        replayed.compact(now=True)
        replayed.close()
        assert list(tmp_path.glob("snapshot-*"))
        restored = reopened(tmp_path, clock)
        for one, other in ((first, replayed), (replayed, restored)):
            assert encode_state(replace(one._state(), at=0.0)) == encode_state(replace(other._state(), at=0.0))
        assert restored.outcomes(MODEL, VERSION, 100) == first.outcomes(MODEL, VERSION, 100)
        restored.close()

    def test_it_compacts_by_itself_and_stays_small(self, tmp_path, clock, monkeypatch):
        monkeypatch.setattr(durable, "COMPACT_BYTES", 20_000)
        aggregator = reopened(tmp_path, clock)
        for number in range(150):
            aggregator.receive(fed(clock, 20, number, source=f"r{number % 3}", incarnation=str(number)).take())
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 150_000
        aggregator.close()
        again = reopened(tmp_path, clock)
        assert again.totals(MODEL, VERSION).rows == 3_000
        again.close()

    def test_a_write_that_fails_is_not_acknowledged_and_the_push_is_counted_once(self, tmp_path, clock, monkeypatch):
        monkeypatch.setattr(durable, "RETRY_S", 0.01)
        aggregator = reopened(tmp_path, clock)
        push, real = fed(clock, 10).take(), os.fsync
        failing = iter([True, True])

        def fsync(descriptor: int) -> None:
            if next(failing, False):
                raise OSError(errno.EIO, "Input/output error")
            real(descriptor)

        monkeypatch.setattr(durable.os, "fsync", fsync)
        for _ in range(500):
            try:
                aggregator.receive(push)
                break
            except StorageFailed:
                threading.Event().wait(0.01)
        aggregator.close()
        after = reopened(tmp_path, clock)
        assert after.totals(MODEL, VERSION).rows == 10
        after.close()

    def test_a_state_of_a_newer_streamb_is_refused(self, tmp_path, clock):
        import msgpack

        log = opened(tmp_path)
        log.save_snapshot(log.rotate(), msgpack.packb({"format": 99}))
        log.close()
        with pytest.raises(ArtifactCorrupt, match="format 99"):
            reopened(tmp_path, clock)


CHILD = """
import sys
from pathlib import Path
from streamb.clock import ManualClock
from streamb.store import durable
from streamb.monitoring.collection.aggregator import Aggregator
from streamb.store.durable import DurableLog
from tests.monitoring.sources import START, fed
durable.COMPACT_BYTES = 3_000
clock = ManualClock(START)
aggregator = Aggregator(clock, DurableLog(Path(sys.argv[1]), linger_s=0.0))
pushes = [fed(clock, 10, seed, source=f"r{seed}") for seed in range(2)]
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    for one in pushes:
        push = one.take()
        push = type(push)((type(push.members[0])(push.members[0].source, "i", number),), push.panes)
        aggregator.receive(push)
        print(push.members[0].source, number, flush=True)
    number += 1
"""


def test_killed_at_any_moment_it_has_what_it_acknowledged(tmp_path, clock):
    """kill -9 of a real process that writes and compacts without a pause, some milliseconds after it began."""
    last, number = {"r0": 0, "r1": 0}, 1
    for patience in (1, 8, 40):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
        )
        assert child.stdout.readline() == "ready\n"
        for _ in range(patience):
            source, sequence = child.stdout.readline().split()
            last[source] = int(sequence)
        child.send_signal(signal.SIGKILL)
        for line in child.stdout.read().splitlines():
            if len(parts := line.split()) == 2 and line.endswith(parts[1]):
                last[parts[0]] = max(last[parts[0]], int(parts[1]))
        child.wait()
        child.stdout.close()
        aggregator = reopened(tmp_path, clock)
        found = {one.member.source: one.member.sequence for one in aggregator.sources()}
        assert all(found.get(source, 0) >= sequence for source, sequence in last.items()), (found, last)
        assert all(found.get(source, 0) <= sequence + 1 for source, sequence in last.items()), "never more than in hand"
        assert aggregator.totals(MODEL, VERSION).rows == 10 * sum(found.values())
        aggregator.close()
        number = min(found.get(source, 0) for source in last) + 1
        last = dict.fromkeys(last, number - 1)
