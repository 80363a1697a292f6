"""Numerical libraries use one thread inside a search, and what they used before afterwards."""

from __future__ import annotations

from threadpoolctl import ThreadpoolController, threadpool_info

from streamb.hpo import Optimizer
from streamb.hpo.gp import modelling
from streamb.hpo.threads import one_thread


def counts() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info()}


def test_one_thread_inside_and_as_before_outside():
    with ThreadpoolController().limit(limits=2):
        with one_thread(), one_thread():
            assert counts() == {1}
        assert counts() == {2}


def test_a_search_computes_in_one_thread(monkeypatch):
    """Threads cost more than they give where matrices are small, and many times as much where CPUs are busy."""
    seen = []
    learn, suggest = modelling.learn, modelling.suggest
    monkeypatch.setattr(modelling, "learn", lambda *a, **k: (seen.append(counts()), learn(*a, **k))[1])
    monkeypatch.setattr(modelling, "suggest", lambda *a, **k: (seen.append(counts()), suggest(*a, **k))[1])
    optimizer = Optimizer({"x": (0.0, 1.0)}, seed=0)
    with ThreadpoolController().limit(limits=2):
        for _ in range(12):
            trial = optimizer.ask()
            optimizer.tell(trial.id, trial.parameters["x"])
    assert seen == [{1}] * 4
