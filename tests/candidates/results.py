"""The outcomes as a table: a JSON file beside the soak's record, and lines for people."""

from __future__ import annotations

import json
from dataclasses import asdict

from tests.candidates.entry import Candidate, Outcome
from tests.soak import commit, results_folder


def keep(outcome: Outcome, candidate: Candidate) -> None:
    """Add an outcome to the file of this commit; a later one of the same candidate replaces it."""
    file = results_folder() / "candidates.json"
    found = _read()
    found[outcome.name] = {**asdict(outcome), "wrong": outcome.complaints(candidate)}
    file.write_text(json.dumps({"commit": commit(), "outcomes": found}, indent=1) + "\n")


def table() -> str:
    """The outcomes at this commit as lines."""
    lines = [f"{'candidate':44} {'end':24} {'hurt':>5} {'failed':>6} {'of':>6} {'s':>6} {'%':>4}  reason"]
    for name, one in _read().items():
        numbers = f"{one['hurt']:5} {one['failed']:6} {one['asked']:6} {one['seconds']:6} {one['reached']:4.0f}"
        lines.append(f"{name:44} {one['end']:24} {numbers}  {one['reason'][:160]}")
        lines += [f"{'':44} WRONG: {wrong}" for wrong in one["wrong"]]
    return "\n".join(lines)


def _read() -> dict[str, dict]:
    file = results_folder() / "candidates.json"
    if not file.exists():
        return {}
    kept = json.loads(file.read_text())
    return kept["outcomes"] if kept["commit"] == commit() else {}
