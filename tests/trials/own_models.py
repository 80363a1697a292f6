"""Models of a user's own, each with one habit that a trial must notice."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

_CALLS = itertools.count()


class Habit:
    """Doubles the first column, after `act`."""

    def act(self, X):
        return np.asarray(X)[:, 0] * 2.0

    def predict(self, X):
        return self.act(X)


class Raises(Habit):
    def act(self, X):
        raise ValueError("no such customer")


class Stochastic(Habit):
    def act(self, X):
        return np.random.default_rng().normal(size=len(X))


class Centres(Habit):
    """Not row-wise: what it answers for a row depends on its neighbours."""

    def act(self, X):
        column = np.asarray(X)[:, 0]
        return column - column.mean()


class TooFew(Habit):
    def act(self, X):
        return super().act(X)[:-1]


class NeverTheSame(Habit):
    """Answers otherwise in each process, but always the same within one."""

    def act(self, X):
        return super().act(X) + os.getpid()


class Exits(Habit):
    def act(self, X):
        sys.exit("I am done")


class Dies(Habit):
    def act(self, X):
        print("the licence has expired", file=sys.stderr, flush=True)
        os._exit(3)


class Hangs(Habit):
    def act(self, X):
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
        time.sleep(600)


class Chatters(Habit):
    def act(self, X):
        for _ in range(200):
            print("x" * 10_000)
            print("y" * 10_000, file=sys.stderr)
        return super().act(X)


class StartsThreads(Habit):
    def act(self, X):
        threading.Thread(target=time.sleep, args=(600,)).start()
        return super().act(X)


class Unloadable(Habit):
    """Its state cannot be restored."""

    def save(self, folder):
        pass

    @classmethod
    def load(cls, folder):
        if "pytest" not in sys.modules:  # else it could not even be saved
            raise RuntimeError("cannot be loaded on purpose")
        return cls()


class TellsItsEnvironment(Habit):
    def act(self, X):
        return [sorted(os.environ) for _ in X]


class Reads(Habit):
    """Answers what is in a file."""

    def __init__(self, path):
        self.path = path

    def act(self, X):
        try:
            with Path(self.path).open() as file:
                return [file.read() for _ in X]
        except OSError as error:
            return [type(error).__name__ for _ in X]
