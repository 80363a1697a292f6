"""A user's script without a guard: it has effects at its top level and saves one model of each kind.

    python script.py OUT    saves OUT/<kind>, prints what each answers as JSON, and adds a line to OUT/ran

It must run exactly once: nothing that loads those models may run it again.
"""

import dataclasses
import enum
import functools
import json
import linecache
import logging
import re
import sys
from collections import namedtuple
from dataclasses import dataclass
from math import *
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import helper
import more
import numpy as np
import shop
import shop.parts.tables
from helper import Base, counted, timed
from helper import doubled as twice
from shop import Net
from shop.parts import tables as near
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from starred import *
import torch
from torch import nn

from streamb.models import Model

OUT = Path(sys.argv[1])
with (OUT / "ran").open("a") as file:
    file.write("ran\n")
print("training", file=sys.stderr)

ROWS = [[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0]]
answers = {}


def saved(kind, thing, rows=ROWS):
    """Save a model, then note what it answers here."""
    model = Model.wrap(thing)
    model.save(OUT / kind)
    answers[kind] = np.asarray(model.predict(np.array(rows))).tolist()


def train():
    (OUT / "trained").touch(exist_ok=False)


train()
TABLE = np.linspace(0.5, 1.5, 7)
WEIGHTS = {"first": np.array([1.0, 10.0]), "names": ("a", "b")}
FITTED = LinearRegression().fit(ROWS, [1.0, 2.0, 3.0])
LOG = logging.getLogger("carried")
WORD = re.compile(r"\d+", re.IGNORECASE)
LIMITS = {"low": -inf, "high": 4.0}
COUNT = 0


class Plain:
    """A class in a script without a guard."""

    scale = 2
    table = TABLE * 2
    made = dict(a=np.arange(3).tolist())
    changed = 1

    def __init__(self, offset):
        self.offset = offset

    def predict(self, X):
        LOG.debug("asked")
        column = np.asarray(X)[:, 0] * self.scale + self.offset + self._bonus(self.shift)
        return (
            column + len(self.table) + self.made["a"][2] + self.changed + TABLE[1] + np.minimum(LIMITS["high"], X[:, 1])
        )

    @staticmethod
    def _bonus(shift):
        return shift + int(WORD.findall("no 41")[0])

    @classmethod
    def named(cls):
        return cls.__name__

    @property
    def shift(self):
        return len(self.named()) + 1


Plain.changed = 7
saved("plain class", Plain(3.0))


class Child(Base):
    """Inherits across helper modules."""

    def weight(self):
        return super().weight() + 1


saved("inheritance", Child())


def linear(X):
    return np.asarray(X) @ WEIGHTS["first"] + FITTED.predict(X)


saved("function", linear)
saved("lambda", lambda X: np.asarray(X)[:, 0] * 3 + TABLE.sum())


def scaled(factor, table):
    calls = 0

    def inner(X):
        nonlocal calls
        calls += 1
        return fold(len(table)) + np.asarray(X)[:, 0] * factor + table.sum() + calls

    def fold(n):
        return 1 if n < 2 else n * fold(n - 1)

    return inner


saved("closure", scaled(2.5, np.arange(4.0)))
saved("closure of the same code", scaled(4.5, np.arange(3.0)))
saved("two lambdas in a line", [lambda X: X[:, 0], lambda X: X[:, 1]][1])
saved("lambda with a default", [lambda X, i=i: X[:, 0] * i for i in range(5)][3])
saved("partial", functools.partial(lambda X, factor: X[:, 0] * factor, factor=twice(4)))


class Ensemble:
    def __init__(self, members):
        self.members = members

    def __call__(self, X):
        return sum(member(X) for member in self.members)

    def answer(self, X):
        return self(X) + 1


def shared():
    total = {"sum": 0.0}

    def add(X):
        total["sum"] += 1
        return X[:, 0]

    def tell(X):
        return np.full(len(X), total["sum"])

    return add, tell


saved("callable with closures", Ensemble(list(shared())))
saved("bound method", Ensemble([linear, np.ravel and (lambda X: X[:, 0])]).answer)

CELLS = (
    "import numpy as np\nFACTOR = np.float64(6.5)\nclass InCell:\n    def predict(self, X):\n"
    "        return np.asarray(X)[:, 0] * FACTOR + len(Settings(2).note)\n",
    "from dataclasses import dataclass\n@dataclass\nclass Settings:\n    size: int\n    note: str = 'abc'\n",
)
for number, cell in enumerate(CELLS):
    name = f"<ipython-input-{number}-0123>"
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    exec(compile(cell, name, "exec"), globals())
saved("notebook cell", InCell())


class UsesHelper:
    def predict(self, X):
        import late

        return helper.doubled(X[:, 0]) + helper.FACTORS[1] + helper.inner.CONSTANT + late.bonus() + helper.COUNTER


helper.COUNTER += 5
saved("helper module", UsesHelper())
saved("package", Net(3.0))


class UsesPackage:
    def predict(self, X):
        from shop.late import bonus

        return X[:, 0] * near.Table(2.0).factor + shop.parts.tables.Table(5.0).factor + bonus() + len(shop.VERSION)


saved("submodules", UsesPackage())


class UsesStar:
    def predict(self, X):
        return sqrt(X[:, 0] ** 2 if STARRED is None else np.abs(STARRED[0])) + starred_function(X)


saved("star import", UsesStar())


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    left: float
    right: float = 2.0


Point = namedtuple("Point", "x y")
Row = list[float]


@dataclass(frozen=True)
class Options:
    factor: float
    colour: Colour = Colour.RED
    tags: list[str] = dataclasses.field(default_factory=lambda: ["a"])


@dataclass
class Configured:
    options: Options
    pair: Pair
    point: Point
    kinds: dict

    def predict(self, X) -> "Row":
        assert isinstance(self.options, Options) and self.kinds["colour"] is Colour.BLUE
        return X[:, 0] * self.options.factor + self.pair.right + self.point.x + len(Options(1.0).tags)


saved("data classes", Configured(Options(3.0), Pair(1.0), Point(4.0, 5.0), {"colour": Colour.BLUE, "set": {"b", "a"}}))


@timed
def decorated(X):
    return X[:, 1] + cached(3)


@functools.cache
def cached(n):
    return n * 2


saved("decorated function", decorated)


class Decorated:
    @timed
    def predict(self, X):
        return counted(X)[:, 0]

    @functools.cached_property
    def ready(self):
        return True


saved("decorated method", Decorated())

if len(ROWS) == 2:

    def chosen(X):
        return X[:, 0] * 100

elif len(ROWS) == 3:

    def chosen(X):
        text = """
    a text that begins
  at other columns"""
        return X[:, 0] + len(text)


first = chosen
chosen = functools.partial(chosen)


def chosen_later(X):
    return chosen(X) + first(X)


saved("conditional definition", first)
saved("rebound name", chosen_later)


class Counter:
    def predict(self, X):
        global COUNT
        COUNT += 1
        return np.full(len(X), COUNT)


saved("global counter", Counter())


class Outer:
    class Inner:
        def predict(self, X):
            return Outer.factor * X[:, 0]

    factor = 4


saved("nested class", Outer.Inner())


def make_class(factor):
    class Local(Base):
        def predict(self, X):
            return X[:, 0] * factor + super().weight()

    return Local


saved("class in a function", make_class(3)())


class Patched:
    def predict(self, X):
        return X[:, 0]


def other_predict(self, X):
    return X[:, 1] * self.rate


Patched.predict = other_predict
Patched.rate = 2.5
saved("patched class", Patched())

first_column = FunctionTransformer(lambda X: X[:, :1] * TABLE[0])
saved("lambda in a pipeline", make_pipeline(first_column, LinearRegression()).fit(np.array(ROWS), [1.0, 2.0, 3.0]))


def metric(left, right):
    return float(np.abs(left - right).max()) * near.Table(1.0).factor


saved("metric of a model", KNeighborsClassifier(1, metric=metric, algorithm="brute").fit(ROWS, [0, 1, 0]))


class Sorted:
    def __init__(self):
        self.key, self.by = itemgetter(0), shop.pick

    def predict(self, X):
        return [self.key(sorted(row)) + self.by(row) for row in np.asarray(X).tolist()]


saved("functions as attributes", Sorted())

for kind, thing in more.KINDS.items():
    saved(kind, thing)


def squash(x):
    return torch.tanh(x) * TABLE[0]


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.activation = nn.Linear(2, 1), squash

    def forward(self, x):
        return self.activation(self.enter(x))


torch.manual_seed(0)
saved("torch module", Layers(), np.array(ROWS, np.float32))

with (OUT / "ran").open("a") as file:
    file.write("ran to the end\n")
print(json.dumps(answers))
