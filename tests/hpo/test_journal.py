"""The journal: after any end, a search goes on as if it had never stopped."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamb.errors import AlreadyRunning, InvalidInput, StorageFailed
from streamb.hpo import Optimizer
from streamb.store.files import LineFile

SPACE = {"x": (0.0, 1.0), "kind": ["a", "b"], "n": {"type": "int", "low": 1, "high": 9, "when": {"kind": "b"}}}
TRIALS = 9


def loss(p: dict) -> float:
    return (p["x"] - 0.4) ** 2 + (0.1 if p["kind"] == "a" else p["n"] / 50)


def opened(path: Path, **options) -> Optimizer:
    return Optimizer(SPACE, seed=4, warmup=4, journal=path, initial=[{"x": "outside", "kind": "a"}], **options)


def step(optimizer: Optimizer) -> dict:
    trial = optimizer.ask()
    optimizer.tell(trial.id, loss(trial.parameters) if trial.row is not None else None, variance=1e-4)
    return trial.parameters


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[dict]]:
    path = tmp_path_factory.mktemp("journal") / "deep" / "whole.jsonl"
    with opened(path) as optimizer:
        asked = [step(optimizer) for _ in range(TRIALS)]
    return path.read_bytes(), asked


class TestResume:
    @pytest.mark.parametrize("lines", [0, 1, 3, 11, 12, 17])
    @pytest.mark.parametrize("torn", [b"", b'{"event":"told","id":'])
    def test_goes_on_with_the_same_suggestions(self, whole, tmp_path: Path, lines: int, torn: bytes):
        content, asked = whole
        path = tmp_path / "cut.jsonl"
        path.write_bytes(b"".join(content.splitlines(keepends=True)[:lines]) + torn)
        with opened(path) as optimizer:
            done = sum(trial.status != "running" for trial in optimizer.trials)
            assert done == max(0, (lines - 1) // 2)
            following = [step(optimizer) for _ in range(min(2, TRIALS - done))]
        assert following == asked[done : done + 2]

    def test_the_whole_journal_gives_the_same_trials_and_best(self, whole, tmp_path: Path):
        content, asked = whole
        path = tmp_path / "whole.jsonl"
        path.write_bytes(content)
        with opened(path) as optimizer:
            assert [trial.parameters for trial in optimizer.trials] == asked
            assert optimizer.best.value == min(loss(p) for p in asked[1:])
        assert path.read_bytes() == content

    def test_lines_are_for_reading_too(self, whole):
        lines = [json.loads(line) for line in whole[0].splitlines()]
        assert [line["event"] for line in lines] == ["opened", *["asked", "told"] * TRIALS]
        assert set(lines[3]["parameters"]) <= {"x", "kind", "n"}

    def test_a_point_outside_of_the_space_keeps_its_values(self, tmp_path: Path):
        path = tmp_path / "outside.jsonl"
        outside = {"x": 7.5, "kind": "c", "sizes": (16, 8)}
        with opened(path) as optimizer:
            optimizer.record(outside, -1.0)
        with opened(path) as optimizer:
            assert optimizer.best.trial.parameters == outside


@contextmanager
def full_disk(path: Path, room: int) -> Iterator[None]:
    """No file of this process may grow beyond what `path` has now and `room` bytes more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestAFullDisk:
    def test_nothing_happened_that_is_not_on_disk(self, tmp_path: Path):
        path = tmp_path / "full.jsonl"
        with opened(path) as optimizer:
            first = optimizer.ask()
            whole = path.read_bytes()
            with full_disk(path, room=20):
                with pytest.raises(StorageFailed, match=r"full\.jsonl cannot be written"):
                    optimizer.tell(first.id, 1.0)
                with pytest.raises(StorageFailed):
                    optimizer.ask()
            assert path.read_bytes() == whole
            assert optimizer.trials == (first,)
            optimizer.tell(first.id, 2.0)
            following = optimizer.ask()
        with opened(path) as optimizer:
            assert [trial.value for trial in optimizer.trials] == [2.0, None]
            assert optimizer.ask() == following

    def test_a_line_of_nothing_else_than_half_a_line(self, tmp_path: Path):
        path = tmp_path / "lines.jsonl"
        path.write_bytes(b'{"a":1}\n{"b":')
        file = LineFile(path)
        assert file.lines == (b'{"a":1}',)
        file.append({"c": 3})
        file.close()
        assert path.read_bytes() == b'{"a":1}\n{"c":3}\n'


class TestRefusals:
    def test_other_initial_points(self, tmp_path: Path):
        path = tmp_path / "initial.jsonl"
        with opened(path) as optimizer:
            optimizer.ask()
        with pytest.raises(InvalidInput, match="initial points that it began with"):
            Optimizer(SPACE, seed=4, journal=path)

    def test_another_search(self, whole, tmp_path: Path):
        path = tmp_path / "whole.jsonl"
        path.write_bytes(whole[0])
        with pytest.raises(InvalidInput, match="another search"):
            Optimizer({"x": (0.0, 2.0)}, seed=4, journal=path)

    def test_a_damaged_line_in_the_middle(self, whole, tmp_path: Path):
        path = tmp_path / "whole.jsonl"
        path.write_bytes(whole[0].replace(b'"event":"told"', b'"event":"lost"', 1))
        with pytest.raises(InvalidInput, match=r"line 3 .* damaged"):
            opened(path)

    def test_two_writers(self, tmp_path: Path):
        path = tmp_path / "shared.jsonl"
        with opened(path), pytest.raises(AlreadyRunning):
            opened(path)
        opened(path).close()
