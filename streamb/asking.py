"""Verbs: the methods that another process may call. The caller names the method itself, so mypy checks both sides.

The object that does the work marks the method; nothing else can be called from outside:

    @verb
    def get_model(self, model_id: str) -> RegisteredModel: ...

The caller passes the method, and gets what it returns, or the error that it raised:

    model = await console.ask(Registry.get_model, "iris")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from streamb.errors import NotFound

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "_streamb_verb"


def verb(method: F) -> F:
    """Allow other processes to call this method, with arguments and an answer that can be pickled."""
    setattr(method, _MARK, True)
    return method


class Transport(Protocol):
    """Carries one call to the process where the verb runs, and brings back what it returned or raised.

    Args:
        name: the method's qualified name, such as "Registry.get_model".
    """

    def __call__(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Awaitable[Any]: ...


class Verbs:
    """The verbs of some objects: what a process lets others call. One marked in a base class runs the override.

    >>> class Greeter:
    ...     @verb
    ...     def greet(self, name: str) -> str:
    ...         return f"hello, {name}"
    >>> Verbs(Greeter()).run(Greeter.greet.__qualname__, ("Ada",), {})
    'hello, Ada'
    """

    def __init__(self, *doers: object) -> None:
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
        """Call the verb of that qualified name.

        Raises:
            NotFound: no object here has a verb of this name.
        """
        method = self._methods.get(name)
        if method is None:
            raise NotFound(f"{name!r} cannot be called from another process: no such method is marked as a verb here")
        return method(*args, **kwargs)
