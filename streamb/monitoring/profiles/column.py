"""A column of a baseline: its name, whether it is a feature or an output, and the classes its values are counted in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from streamb.monitoring.profiles.category_bins import CategoryBins
from streamb.monitoring.profiles.number_bins import NumberBins
from streamb.monitoring.profiles.text_bins import TextBins

Role = Literal["feature", "output"]
Bins: TypeAlias = NumberBins | CategoryBins | TextBins

_KINDS: Final[dict[str, type[Bins]]] = {"number": NumberBins, "category": CategoryBins, "text": TextBins}
OUTPUT: Final = "prediction"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a baseline.

    Attributes:
        name: the name in the data; a single output is "prediction", several are "prediction.0", "prediction.1", ….
        role: "feature" or "output".
        bins: the classes of its values.
    """

    name: str
    role: Role
    bins: Bins

    @property
    def kind(self) -> str:
        """ "number", "category" or "text"."""
        return self.bins.kind

    def to_plain(self) -> list[Any]:
        """Return the column as plain values, for `from_plain`."""
        return [self.name, self.role, self.kind, self.bins.to_plain()]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> Column:
        """Return the column from the result of `to_plain`."""
        return cls(plain[0], plain[1], _KINDS[plain[2]].from_plain(plain[3]))
