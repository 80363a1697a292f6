"""What a model's code may raise, and where: every kind of it must fail one request and nothing else."""

import asyncio

import numpy as np


class Own(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self):
        raise SystemExit(5)


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("not this one")


class Surrogates(Exception):
    def __str__(self):
        return "half of a pair: \ud800"


KINDS = {
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "CancelledError": asyncio.CancelledError(),
    "GeneratorExit": GeneratorExit(),
    "StopIteration": StopIteration("none"),
    "StopAsyncIteration": StopAsyncIteration(),
    "Own": Own("of my own"),
    "RecursionError": RecursionError("too deep"),
    "MemoryError": MemoryError(),
    "Unprintable": Unprintable(),
    "Unpicklable": Unpicklable("cannot be sent"),
    "Surrogates": Surrogates(),
}


class Answer:
    """An answer that raises when it is read in some way."""

    def __init__(self, error, name):
        self._error, self._name = error, name

    def __getattr__(self, name):
        if name == self._name:
            raise self._error
        raise AttributeError(name)


class ArrayAnswer(Answer):
    def __array__(self, *_args, **_options):
        raise self._error


class ListAnswer(list):
    def __init__(self, error):
        super().__init__([1.0])
        self._error = error

    def __iter__(self):
        raise self._error


class MappingAnswer(dict):
    def __init__(self, error):
        super().__init__(a=[1.0])
        self._error = error

    def items(self):
        raise self._error


class ValueInAnswer:
    def __init__(self, error):
        self._error = error

    def __array__(self, *_args, **_options):
        raise self._error


class Schema:
    is_open = False

    def __init__(self, error):
        self._error = error

    def to_input(self, rows):
        if (np.asarray(rows) == -1).any():
            raise self._error
        return rows


class Model:
    """Doubles the first value of each row, and raises `error` at some place for a row of -1."""

    schema = None
    has_probabilities = True

    def __init__(self, error, place):
        self.error, self.place = error, place
        if place == "to_input":
            self.schema = Schema(error)

    def predict(self, X):
        if self.place == "predict_proba" or not (np.asarray(X) == -1).any():
            return np.asarray(X)[:, 0] * 2.0
        if self.place == "predict":
            raise self.error
        return {
            "__array__": lambda: ArrayAnswer(self.error, ""),
            "dtype": lambda: Answer(self.error, "columns"),
            "__iter__": lambda: ListAnswer(self.error),
            "items": lambda: MappingAnswer(self.error),
            "value": lambda: [ValueInAnswer(self.error)] * len(X),
            "generator": lambda: list(self._values()),
        }[self.place]()

    def _values(self):
        yield 1.0
        raise self.error

    def predict_proba(self, X):
        if (np.asarray(X) == -1).any():
            raise self.error
        return np.column_stack([np.asarray(X)[:, 0], np.asarray(X)[:, 0]])


PLACES = ("predict", "predict_proba", "to_input", "__array__", "__iter__", "dtype", "items", "value", "generator")
