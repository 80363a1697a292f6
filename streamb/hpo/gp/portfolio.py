"""Which acquisition a search uses: one of the three by name, or "auto", which takes turns.

"auto" asks every other time for an improvement of at least a fiftieth of a standard deviation. Plain expected
improvement goes on polishing the hill it is on: near the incumbent there is always a little to be gained. Asking for
more sends every other trial to where much may still be found, and costs the polishing little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamb.errors import InvalidInput
from streamb.hpo.gp.acquisition import Acquisition, ConfidenceBound, ExpectedImprovement, ProbabilityOfImprovement

TURNS: Final[Mapping[str, tuple[Acquisition, ...]]] = {
    "ei": (ExpectedImprovement(),),
    "pi": (ProbabilityOfImprovement(),),
    "ucb": (ConfidenceBound(),),
    "auto": (ExpectedImprovement(), ExpectedImprovement(margin=0.02)),
}
"""By name, the acquisitions that the suggestions use in turn."""


def acquisition_for(name: str, turn: int) -> Acquisition:
    """The acquisition for suggestion number `turn`.

    Raises:
        InvalidInput: there is none of this name.
    """
    if name not in TURNS:
        raise InvalidInput(f"acquisition {name!r} is not known; use one of {', '.join(TURNS)}")
    return TURNS[name][turn % len(TURNS[name])]
