"""Verbs: methods that another process may call. The caller passes the method itself, so mypy checks both sides.

The class that does the work marks the method; no other method can be called from outside:

    @verb
    def get_model(self, model_id: str) -> RegisteredModel: ...

The caller passes the method, and gets its result or the error that it raised:

    model = await console.ask(Registry.get_model, "iris")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from streamb.errors import NotFound

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "_streamb_verb"


def verb(method: F) -> F:
    """Allow other processes to call this method; its arguments and result must be picklable."""
    setattr(method, _MARK, True)
    return method


class Transport(Protocol):
    """Sends one call to the process where the verb runs, and returns its result or raises its error.

    Args:
        name: the method's qualified name, such as "Registry.get_model".
    """

    def __call__(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Awaitable[Any]: ...


class Verbs:
    """The verbs of some objects, which other processes may call. A verb marked in a base class runs the override.

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
        """Call the verb with this qualified name, and return its result.

        Raises:
            NotFound: there is no verb of this name.
        """
        method = self._methods.get(name)
        if method is None:
            raise NotFound(f"{name!r} cannot be called from another process: no such method is marked as a verb here")
        return method(*args, **kwargs)
