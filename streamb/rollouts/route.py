"""The stored route of a model: the app that serves it, until the model is undeployed. Gateways and Ray Serve are made
to match it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streamb.rollouts.runtime import DEFAULT_RUN, RunOptions


@dataclass(frozen=True, slots=True)
class Standby:
    """A version that served before and is kept running, so that a rollback is instant.

    Attributes:
        until: when it may be stopped (seconds since the epoch).
        run: how it runs and is called.
    """

    version: str
    app: str
    until: float
    run: RunOptions = DEFAULT_RUN


@dataclass(frozen=True, slots=True)
class ServingRoute:
    """The version and app that serve a model, apart from any deployment under way.

    Attributes:
        salt: the salt of the model's traffic split.
        standby: versions that are kept warm.
        replacement: the app that will take over from `app`, which has failed; "" while `app` is well.
        restarts: how often the version was restarted since it last ran for a while.
        retry_at: the earliest time of the next restart (seconds since the epoch).
        run: how the version runs and is called.
    """

    model_id: str
    version: str
    app: str
    salt: str
    standby: tuple[Standby, ...] = ()
    replacement: str = ""
    restarts: int = 0
    retry_at: float = 0.0
    run: RunOptions = DEFAULT_RUN

    @property
    def apps(self) -> frozenset[str]:
        """Every app that should run for this route."""
        return frozenset({self.app, self.replacement, *(one.app for one in self.standby)} - {""})

    def warm(self, version: str) -> str:
        """Return the app of the route that runs this version; "" if there is none."""
        if version == self.version:
            return self.app
        return next((one.app for one in self.standby if one.version == version), "")

    def run_of(self, app: str) -> RunOptions | None:
        """Return how an app of this route runs; None if it is none of them."""
        if app in (self.app, self.replacement):
            return self.run
        return next((one.run for one in self.standby if one.app == app), None)

    def keeping(self, app: str) -> ServingRoute:
        """Return the route with only this app kept warm."""
        return replace(self, standby=tuple(one for one in self.standby if one.app == app))

    def switched(
        self, version: str, app: str, now: float, hold_s: float, run: RunOptions = DEFAULT_RUN
    ) -> ServingRoute:
        """Return the route with another app serving; the previous one is kept warm.

        Args:
            version, app: what serves from now on.
            now: seconds since the epoch.
            hold_s: for how many seconds the previous version is kept warm.
            run: how it runs and is called.
        """
        if app == self.app:
            return replace(self, run=run)
        held: tuple[Standby, ...] = ()
        if hold_s > 0 and version != self.version:
            held = (Standby(self.version, self.app, now + hold_s, self.run),)
        return ServingRoute(self.model_id, version, app, self.salt, held, run=run)


@dataclass(frozen=True, slots=True)
class Undeployment:
    """A model that was taken out of traffic and whose apps stop. It is stored until the last of them is gone.

    Attributes:
        version: the version that served.
        apps: the apps that stop: the one that served, and those that were kept warm.
        at: when it was ordered (seconds since the epoch).
        by, reason: who ordered it, and why.
    """

    model_id: str
    version: str
    apps: tuple[str, ...]
    at: float
    by: str
    reason: str = ""
