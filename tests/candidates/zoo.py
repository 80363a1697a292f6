"""All candidates."""

from __future__ import annotations

from tests.candidates.entry import AT_ORDER, BACK, DONE, FAILED, REFUSED, WAITS, Candidate
from tests.candidates.models import (
    AnswersNaN,
    Constant,
    ExitsOnCall,
    ExitsOnLoad,
    Hangs,
    Labels,
    Leaks,
    LoadsSlowly,
    MissesARow,
    NeedsAPackage,
    Priced,
    Raises,
    RaisesForSegment,
    Shifted,
    SlowerByTheRow,
    Steady,
    Tires,
    Words,
)

_JUDGE_LATENCY = {"health_check_criteria": {"latency_slack_ms": 12}, "step_max_seconds": 300}
_DIED = ("died", "process", "replica", "exit", "failed")
_WANTS_MORE = {"family": "columns", "make": lambda: Priced(["size", "age", "area"])}
_MORE = {"example": True, "columns": lambda frame: frame.assign(area=frame["rooms"] ** 2), **_WANTS_MORE}

ZOO = (
    # --- it fails requests ---
    Candidate("healthy", Steady, (DONE,), example=True),
    Candidate("raises on all rows", lambda: Raises(1.0), (BACK,), ("requests failed", "error")),
    Candidate("raises on 20 % of the rows", lambda: Raises(0.2), (BACK,), ("failed", "error")),
    Candidate("raises on 3 % of the rows", lambda: Raises(0.03), (BACK,), ("failed", "error")),
    Candidate("raises for one rare segment", RaisesForSegment, (BACK,), ("failed", "error")),
    Candidate(
        "fails after completion", lambda: Tires(4_000), (BACK,), ("failed", "error"), options={"hold_seconds": 60}
    ),
    Candidate("answers NaN", lambda: AnswersNaN(1.0), (BACK,), ("failed", "error", "finite")),
    Candidate("answers NaN for 10 % of the rows", lambda: AnswersNaN(0.1), (BACK,), ("failed", "error", "finite")),
    Candidate("wrong count, with an example", MissesARow, (REFUSED,), ("rows", "predictions"), example=True),
    Candidate("wrong count", MissesARow, (BACK,), ("failed", "error", "predictions")),
    Candidate("needs a missing package", lambda: NeedsAPackage(everywhere=True), (BACK,), ("failed", "error")),
    Candidate(
        "needs a missing package, with an example", lambda: NeedsAPackage(everywhere=True), (REFUSED,),
        ("no_such_package_anywhere",), example=True,
    ),
    Candidate(
        "needs a package that replicas lack", lambda: NeedsAPackage(everywhere=False), (FAILED, BACK),
        ("no_such_package_anywhere",), example=True,
    ),
    # --- it takes too long ---
    Candidate(
        "slower by half", lambda: Steady(0.09), (BACK,), ("latency",), family="unhurried", options=_JUDGE_LATENCY,
        quick=True,
    ),
    Candidate(
        "slow when busy", lambda: SlowerByTheRow(0.06), (BACK,), ("latency",), family="unhurried",
        options=_JUDGE_LATENCY,
    ),
    Candidate(
        "hangs on 3 % of the rows", lambda: Hangs(0.03), (BACK,),
        ("without an answer", "timeout", "failed", "time limit"),
        quick=True,
    ),
    # --- it dies ---
    Candidate("leaks memory until it is killed", Leaks, (BACK, FAILED), _DIED),
    Candidate("exits on the 50th call", ExitsOnCall, (BACK, FAILED), _DIED),
    Candidate("exits on load", lambda: ExitsOnLoad(everywhere=True), (REFUSED,), ("ended", "exit", "died")),
    Candidate(
        "exits on load in a replica", lambda: ExitsOnLoad(everywhere=False), (FAILED,), ("did not start", "died"),
        quick=True,
    ),
    Candidate("takes 60 s to load", lambda: LoadsSlowly(60), (DONE,)),
    # --- it answers something else ---
    Candidate("answers a constant", Constant, (WAITS,), ("same", "constant"), quick=True),
    Candidate("answers half as much again", Shifted, (WAITS,), ("differ", "disagree", "shift")),
    Candidate("strings instead of numbers", Words, (AT_ORDER, WAITS), ("output", "type", "str", "text")),
    Candidate("strings instead of numbers, with an example", Words, (AT_ORDER,), ("output",), example=True),
    Candidate(
        "other classes", lambda: Labels(["no", "maybe"]), (AT_ORDER,), ("classes",), family="labels", example=True
    ),
    Candidate(
        "5 % of the labels turned", lambda: Labels(["no", "yes"], 0.05), (WAITS,), ("differ", "disagree"),
        family="labels", example=True,
    ),
    # --- it wants something else ---
    Candidate("one more column", ends=(AT_ORDER,), reason=("area",), quick=True, **_MORE),
    Candidate(
        "one more column, accepted", ends=(BACK,), reason=("client error", "refused", "rows"),
        options={"accept_changes": ["added:area"]}, **_MORE,
    ),
    Candidate("one more column, not known before", ends=(BACK,), reason=("failed", "error"), **_WANTS_MORE),
    Candidate(
        "one column fewer", lambda: Priced(["size", "age"]), (AT_ORDER,), ("rooms",), family="columns", example=True,
        columns=lambda frame: frame.drop(columns="rooms"),
    ),
    Candidate(
        "a column of another type", lambda: Priced(["size", "rooms"]), (AT_ORDER,), ("age",), family="columns",
        example=True, columns=lambda frame: frame.assign(age=frame["age"].astype(str)),
    ),
)  # fmt: skip
