"""Verbs: methods that another process may call. The caller passes the method itself, so mypy checks both sides.

The class that does the work marks the method; no other method can be called from outside:

    @verb
    def get_model(self, model_id: str) -> RegisteredModel: ...

The caller passes the method, and gets its result or the error that it raised:

    model = await console.ask(Registry.get_model, "iris")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from streamb.errors import NotFound

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "_streamb_verb"
_CHANGES: Final = "_streamb_changes"
ONCE: Final = "__once__"
"""The argument that carries the `Once` of a change to the process where its verb runs; no verb sees it."""


@dataclass(frozen=True, slots=True)
class Once:
    """Names one requested change, so that a repetition of the request is told the answer instead of being done again.

    Attributes:
        key: a digest that is unique to the caller and the key that it chose.
        fingerprint: digest of the request, to distinguish its repetition from another request with the same key.
    """

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Told:
    """The kept answer of a change that was made before."""

    answer: Any


class Keeper(Protocol):
    """Keeps the answers of changes beside what they changed."""

    def do(self, once: Once, method: Callable[..., Any], act: Callable[[], Any]) -> Any:
        """Return what `act` returns, which calls `method`; if that was done before under `once`, `Told` its answer."""
        ...


def verb(method: F) -> F:
    """Allow other processes to call this method; its arguments and result must be picklable."""
    setattr(method, _MARK, True)
    return method


def change(method: F) -> F:
    """Like `verb`, for a method that changes what is stored: with a `Once` it is done once, and its answer told again.

    The method passes its answer to `streamb.store.keep` in the transaction of the change. The annotation of its result
    is the type in which a kept answer is read.
    """
    setattr(method, _CHANGES, True)
    return verb(method)


def changes(method: Callable[..., Any]) -> bool:
    """Return whether a verb is marked as a `change`."""
    return getattr(method, _CHANGES, False)


class Transport(Protocol):
    """Sends one call to the process where the verb runs, and returns its result or raises its error.

    Args:
        name: the method's qualified name, such as "Registry.get_model".
    """

    def __call__(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Awaitable[Any]: ...


class Verbs:
    """The verbs of some objects, which other processes may call. A verb marked in a base class runs the override.

    Args:
        doers: the objects.
        keeper: keeps the answers of changes that name a `Once`; None: such changes are refused.

    >>> class Greeter:
    ...     @verb
    ...     def greet(self, name: str) -> str:
    ...         return f"hello, {name}"
    >>> Verbs(Greeter()).run(Greeter.greet.__qualname__, ("Ada",), {})
    'hello, Ada'
    """

    def __init__(self, *doers: object, keeper: Keeper | None = None) -> None:
        self._keeper = keeper
        self._methods: dict[str, Callable[..., Any]] = {
            member.__qualname__: getattr(doer, name)
            for doer in doers
            for cls in type(doer).__mro__
            for name, member in vars(cls).items()
            if getattr(member, _MARK, False)
        }

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    def run(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call the verb with this qualified name, and return its result.

        Raises:
            NotFound: there is no verb of this name.
        """
        method = self._methods.get(name)
        if method is None:
            raise NotFound(f"{name!r} cannot be called from another process: no such method is marked as a verb here")
        if ONCE not in kwargs:
            return method(*args, **kwargs)
        if self._keeper is None:
            raise NotFound(f"{name!r} cannot be asked for once: nothing keeps its answer here")
        given = {argument: value for argument, value in kwargs.items() if argument != ONCE}
        return self._keeper.do(kwargs[ONCE], method, partial(method, *args, **given))
