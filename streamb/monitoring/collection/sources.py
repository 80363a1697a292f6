"""Who pushes: what each source pushed last, so that a push counts once, and when it did, so that silence is noticed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from streamb.monitoring.collection.push import Member, SourceName, VersionKey


@dataclass(frozen=True, slots=True)
class SourceState:
    """The last push of one source.

    Attributes:
        member: which.
        at: when it arrived, in seconds since the epoch.
    """

    member: Member
    at: float


class Sources:
    """Every source that was heard of lately. Not thread-safe.

    Those that are there are kept by version, too: there may be thousands of versions, and all are asked for every few
    seconds.
    """

    def __init__(self, states: Iterable[SourceState] = ()) -> None:
        self._states: dict[SourceName, SourceState] = {}
        self._present: dict[VersionKey, dict[SourceName, float]] = {}
        for state in states:
            self.note(state.member, state.at)

    def __len__(self) -> int:
        return len(self._states)

    def counted(self, member: Member) -> bool:
        """Whether this push, or a later one of its source, was counted."""
        known = self._states.get(member.name)
        return known is not None and member.sequence <= known.member.sequence

    def note(self, member: Member, at: float) -> None:
        """This push is counted, and was the last one of its source where it says so."""
        name = member.name
        self._states[name] = SourceState(member, at)
        if member.leaving:
            self._gone(member.key, name)
        else:
            self._present.setdefault(member.key, {})[name] = at

    def states(self) -> tuple[SourceState, ...]:
        """The last push of every source, of those that have left as well."""
        return tuple(self._states.values())

    def present(self) -> list[SourceState]:
        """The last push of every source that has not left, in order of their names."""
        found = [one for one in self._states.values() if not one.member.leaving]
        return sorted(found, key=lambda one: (one.member.source, one.at))

    def heard_at(self, key: VersionKey) -> float | None:
        """When a source of this version that has not left was last heard of; None where there is none."""
        return max(self._present.get(key, {}).values(), default=None)

    def versions(self) -> list[VersionKey]:
        """The versions of all sources that have not left; ("", "") for gateways."""
        return list(self._present)

    def forget(self, before: float) -> list[SourceName]:
        """Forget those that were last heard of before a moment; returns their names."""
        silent = [name for name, one in self._states.items() if one.at < before]
        for name in silent:
            self._gone(self._states.pop(name).member.key, name)
        return silent

    def rewind(self, at: float) -> None:
        """The clock was set back to this moment: nobody was heard of after it."""
        for name, one in self._states.items():
            if one.at > at:
                self._states[name] = replace(one, at=at)
        for present in self._present.values():
            present.update({name: at for name, heard in present.items() if heard > at})

    def _gone(self, key: VersionKey, name: SourceName) -> None:
        present = self._present.get(key, {})
        present.pop(name, None)
        if not present:
            self._present.pop(key, None)
