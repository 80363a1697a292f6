"""Silences: for a while, alerts with these labels are told to nobody; who said so and why is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from streamb.clock import isoformat
from streamb.errors import InvalidInput
from streamb.monitoring.alerts.matchers import WrittenMatcher, matches_all, read_matchers
from streamb.options import Options, ShortText, SomeText, option
from streamb.store.plain import to_plain

MatcherText = Annotated[str, Field(min_length=3, max_length=500, pattern=r"^[^\x00]*$")]
KEPT_S: Final = 5 * 86_400.0
"""How long a silence that is over stays on the list."""


class SilenceOptions(Options):
    """Nobody is notified of alerts that match, for a while."""

    called: ClassVar[str] = "this silence"

    matchers: Annotated[tuple[MatcherText, ...], Field(min_length=1, max_length=20, strict=False)] = option(
        "Conditions on labels, as Alertmanager writes them; all must hold.",
        default=...,
        examples=[['model="iris"', 'alertname=~"DataDrift|HighLatency"', 'severity!="critical"']],
    )
    duration_s: Annotated[float, Field(gt=0, le=90 * 86_400, allow_inf_nan=False)] = option(
        "How long it lasts.", default=7_200.0, unit="seconds"
    )
    author: ShortText = option("Who makes it; by default the name of the API key.", default="")
    comment: SomeText = option("Why, in words.", default=...)


class SilenceState(StrEnum):
    """Where a silence is in its life."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Silence:
    """Mutes the alerts that match all its matchers.

    Attributes:
        silence_id: its name.
        matchers: at least one that an alert without that label would not match.
        author: who made it.
        comment: why.
        starts_at: from when, seconds since the epoch.
        ends_at: until when; earlier than it was made for when somebody ended it.
        expired_by: who ended it; "" when its time just passes.
    """

    silence_id: str
    matchers: tuple[WrittenMatcher, ...]
    author: str
    comment: str
    starts_at: float
    ends_at: float
    expired_by: str = ""

    @classmethod
    def create(
        cls, silence_id: str, given: Any, *, author: str, comment: str, starts_at: float, ends_at: float
    ) -> Silence:
        """A silence of matchers as a user gives them, checked.

        Raises:
            InvalidInput: says which part is missing or wrong.
        """
        matchers = read_matchers(given)
        texts = tuple(str(matcher) for matcher in matchers)
        asked = SilenceOptions.read(
            {"matchers": texts, "duration_s": ends_at - starts_at, "author": author, "comment": comment}
        )
        if matches_all(matchers, {}):
            raise InvalidInput('this silence would mute every alert: add a matcher like model="iris"')
        for name, text in (("author", asked.author.strip()), ("comment", asked.comment.strip())):
            if not text:
                raise InvalidInput(f"a silence needs its {name}")
        return cls(silence_id, matchers, asked.author.strip(), asked.comment.strip(), starts_at, ends_at)

    def mutes(self, labels: Mapping[str, str], now: float) -> bool:
        """Whether alerts with these labels are muted now."""
        return self.starts_at <= now < self.ends_at and matches_all(self.matchers, labels)

    def state(self, now: float) -> SilenceState:
        """Where it is in its life."""
        if now >= self.ends_at:
            return SilenceState.EXPIRED
        return SilenceState.ACTIVE if now >= self.starts_at else SilenceState.PENDING

    def forgotten(self, now: float) -> bool:
        """Whether it has been over for so long that nobody asks for it."""
        return now >= self.ends_at + KEPT_S

    def expired(self, now: float, by: str) -> Silence:
        """The same, ended now; one that is over stays as it was."""
        if self.state(now) is SilenceState.EXPIRED:
            return self
        return replace(self, starts_at=min(self.starts_at, now), ends_at=now, expired_by=by)

    def to_json(self, now: float) -> dict[str, Any]:
        """JSON-ready, for people: with its id and state, times in ISO 8601."""
        plain = to_plain(self)
        return {
            "id": plain.pop("silence_id"),
            **plain,
            "state": str(self.state(now)),
            "starts_at": isoformat(self.starts_at),
            "ends_at": isoformat(self.ends_at),
        }
