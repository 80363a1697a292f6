"""What `more` imports, with a star and by name."""

from __future__ import annotations
import collections
from typing import Generic, TypeVar, ClassVar, Protocol
from dataclasses import dataclass
import abc

T = TypeVar("T")
HANDLERS = {"a": lambda x: x + 1, "b": max}
COUNTS = collections.defaultdict(lambda: 5)


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Meta(type):
    def __new__(mcls, name, bases, ns):
        ns["tag"] = name.lower()
        return super().__new__(mcls, name, bases, ns)


class Square(Shape, Generic[T]):
    def __init__(self, side: T):
        self.side = side

    def area(self):
        return self.side**2


class WithMeta(metaclass=Meta):
    limit: ClassVar[int] = 3


def even(n):
    return True if n == 0 else odd(n - 1)


def odd(n):
    return False if n == 0 else even(n - 1)


@dataclass
class Conf:
    limit: ClassVar[int] = 4
    rate: float = 1.5


CONF = Conf(2.5)


class Wrong(ValueError):
    pass
