"""Search spaces as data: what is worth searching in the models of the guide and in common estimators."""

from __future__ import annotations

import copy
from typing import Any, Final

from streamb.errors import NotFound
from streamb.hpo.spaces import guide, linear, margins, trees

SPACES: Final[dict[str, dict[str, Any]]] = {**guide.SPACES, **linear.SPACES, **margins.SPACES, **trees.SPACES}
"""By name: the guide's kinds of model, and scikit-learn's estimators by their class."""


def search_space(kind: str) -> dict[str, Any]:
    """A copy of a space, to use as it is or to change.

    Raises:
        NotFound: there is none of this name; says which there are.

    >>> search_space("Ridge")
    {'alpha': {'type': 'float', 'low': 0.001, 'high': 10000.0, 'log': True, 'default': 1.0}}
    """
    if kind not in SPACES:
        raise NotFound(f"there is no search space {kind!r}; there are: {', '.join(SPACES)}")
    return copy.deepcopy(SPACES[kind])


def space_for(model: Any) -> dict[str, Any]:
    """The space for an estimator, or for the last step of a pipeline, with names as that knows them.

    Raises:
        NotFound: there is none for this class.
    """
    steps = getattr(model, "steps", None)
    if not steps:
        return search_space(type(model).__name__)
    name, last = steps[-1]
    prefix = f"{name}__"
    found = {}
    for inner, described in space_for(last).items():
        when = {prefix + parent: values for parent, values in described.get("when", {}).items()}
        found[prefix + inner] = {**described, **({"when": when} if when else {})}
    return found
