"""Which app answers a model's traffic, as persisted: what gateways and Serve are brought in line with."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Standby:
    """A version that answered before and is kept warm, so that a rollback finds it running.

    Attributes:
        until: when it may be stopped (seconds since the epoch).
    """

    version: str
    app: str
    until: float


@dataclass(frozen=True, slots=True)
class ServingRoute:
    """What answers for a model outside any deployment.

    Attributes:
        salt: the salt of the model's traffic split.
        standby: versions that are kept warm.
        replacement: the app that is to take over from `app`, which has failed; "" while it is well.
        restarts: how often the version was started again since it last ran for a while.
        retry_at: when it may be started again at the earliest.
    """

    model_id: str
    version: str
    app: str
    salt: str
    standby: tuple[Standby, ...] = ()
    replacement: str = ""
    restarts: int = 0
    retry_at: float = 0.0

    @property
    def apps(self) -> frozenset[str]:
        """Every app that this route wants to run."""
        return frozenset({self.app, self.replacement, *(one.app for one in self.standby)} - {""})

    def warm(self, version: str) -> str:
        """The app that runs a version already; "" when none does."""
        if version == self.version:
            return self.app
        return next((one.app for one in self.standby if one.version == version), "")

    def keeping(self, version: str) -> ServingRoute:
        """Nothing but this version is kept warm."""
        return replace(self, standby=tuple(one for one in self.standby if one.version == version))

    def switched(self, version: str, app: str, now: float, hold_s: float) -> ServingRoute:
        """Another app answers; the one that answered before is kept warm for a while."""
        if app == self.app:
            return self
        held = (Standby(self.version, self.app, now + hold_s),) if hold_s > 0 and version != self.version else ()
        return ServingRoute(self.model_id, version, app, self.salt, held)
