"""Silences: mute the alerts with certain labels for a while; each keeps its author and reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from streamb.clock import isoformat
from streamb.errors import InvalidInput
from streamb.monitoring.alerts.matchers import WrittenMatcher, matches_all, read_matchers
from streamb.options import NO_NUL, Options, ShortText, SomeText, option
from streamb.store.plain import to_plain

MatcherText = Annotated[str, Field(min_length=3, max_length=500, pattern=NO_NUL)]
KEPT_S: Final = 5 * 86_400.0
"""How long an expired silence stays on the list, in seconds."""


class SilenceOptions(Options):
    """The options of a silence, which mutes matching alerts for a while."""

    called: ClassVar[str] = "this silence"

    matchers: Annotated[tuple[MatcherText, ...], Field(min_length=1, max_length=20, strict=False)] = option(
        "Conditions on labels, as Alertmanager writes them; all must hold.",
        default=...,
        examples=[['model="iris"', 'alertname=~"DataDrift|HighLatency"', 'severity!="critical"']],
    )
    duration_s: Annotated[float, Field(gt=0, le=90 * 86_400, allow_inf_nan=False)] = option(
        "How long the silence lasts.", default=7_200.0, unit="seconds"
    )
    author: ShortText = option("A comment on who wanted it; over HTTP the author is the caller.", default="")
    comment: SomeText = option("The reason for the silence.", default=...)


class SilenceState(StrEnum):
    """The state of a silence: not started yet, in effect, or over."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Silence:
    """Mutes the alerts that match all its matchers.

    Attributes:
        silence_id: the silence's id.
        matchers: conditions on labels; at least one of them rejects an alert that lacks its label.
        author: who made the silence.
        comment: the reason for it.
        starts_at: when it starts, seconds since the epoch.
        ends_at: when it ends, or when somebody ended it early.
        expired_by: who ended it early; "" if nobody did.
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
        """Check the input of a user and return a silence.

        Args:
            silence_id: the new silence's id.
            given: matchers as texts or in Alertmanager's API form.
            author: who makes it; not blank.
            comment: the reason for it; not blank.
            starts_at: when it starts, seconds since the epoch.
            ends_at: when it ends, at most 90 days later.

        Raises:
            InvalidInput: the message names the part that is missing or wrong.
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
        """Return whether the silence mutes an alert with these labels now."""
        return self.starts_at <= now < self.ends_at and matches_all(self.matchers, labels)

    def state(self, now: float) -> SilenceState:
        """Return the silence's state at the time `now`."""
        if now >= self.ends_at:
            return SilenceState.EXPIRED
        return SilenceState.ACTIVE if now >= self.starts_at else SilenceState.PENDING

    def forgotten(self, now: float) -> bool:
        """Return whether the silence ended more than `KEPT_S` ago, so that it leaves the list."""
        return now >= self.ends_at + KEPT_S

    def expired(self, now: float, by: str) -> Silence:
        """Return a copy that ends now; an expired silence is returned unchanged."""
        if self.state(now) is SilenceState.EXPIRED:
            return self
        return replace(self, starts_at=min(self.starts_at, now), ends_at=now, expired_by=by)

    def to_json(self, now: float) -> dict[str, Any]:
        """Return the silence as a JSON object with its id and state, and times in ISO 8601."""
        plain = to_plain(self)
        return {
            "id": plain.pop("silence_id"),
            **plain,
            "state": str(self.state(now)),
            "starts_at": isoformat(self.starts_at),
            "ends_at": isoformat(self.ends_at),
        }
