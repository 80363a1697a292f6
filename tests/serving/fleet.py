"""Gateways' limits on callers and the Controller's division of them, put together without processes: time is manual."""

from streamb.clock import ManualClock
from streamb.control.shares import Division
from streamb.errors import RateLimited
from streamb.serving.callers import CallerLimits
from streamb.traffic import RateLimits

LIMITS = RateLimits(per_minute=1000, burst=100, address_per_minute=10**9, address_burst=10**9)


class Gateway:
    """One gateway process: `alive` until it is killed, `heard` while its heartbeats arrive, `left` after a goodbye."""

    def __init__(self, name, clock, limits):
        self.name, self.clock, self.began = name, clock, clock.monotonic()
        self.callers = CallerLimits(clock, divided=True)
        self.callers.use(limits)
        self.alive = self.heard = True
        self.left = False

    def ask(self, number, model="m", key_id="k1"):
        """Send requests at once; return how many are let through."""
        return sum(self.passes(model, key_id) for _ in range(number)) if self.alive else 0

    def passes(self, model="m", key_id="k1"):
        try:
            self.callers.from_caller(key_id, ("@192.0.2.1", "@"), model, self.clock.monotonic())
        except RateLimited:
            return False
        return True


class Fleet:
    """A platform's gateways and its Controller."""

    def __init__(self, gateways, limits=LIMITS, expected=None):
        self.clock = ManualClock(1000.0)
        self.limits = RateLimits(
            limits.per_minute,
            limits.burst,
            limits.address_per_minute,
            limits.address_burst,
            False,
            expected or gateways,
        )
        self.division = Division(self.limits, fresh=True)
        self.gateways = []
        self.made = 0
        self.controller_alive = True
        for _ in range(gateways):
            self.start()

    def start(self):
        self.made += 1
        self.gateways.append(Gateway(f"g{self.made}", self.clock, self.limits))
        return self.gateways[-1]

    def kill(self, gateway):
        """Its process ends; the Controller learns of it by `bury`."""
        gateway.alive = False

    def leave(self, gateway):
        """It says goodbye and still answers what reaches it."""
        gateway.callers.leave()
        gateway.left = True
        self.division.gone(gateway.name)

    def bury(self):
        for gone in [one for one in self.gateways if not one.alive]:
            self.division.gone(gone.name)
            self.gateways.remove(gone)

    def restart_controller(self):
        self.division = Division(self.limits, fresh=False)

    def recover(self):
        """The Controller learns which gateways run: late ones are among them, those that said goodbye are not."""
        if self.division.recovering:
            self.division.expect(one.name for one in self.gateways if one.alive and not one.left)

    def beat(self, gateway, *, answer_lost=False):
        """One heartbeat; while the answer tells to give up shares, the next one follows at once."""
        if gateway.left or not (gateway.alive and gateway.heard and self.controller_alive):
            return
        for _ in range(3):
            now = self.clock.monotonic()
            told = self.division.divide(gateway.name, gateway.callers.uses(), now, now - gateway.began)
            if answer_lost or not gateway.callers.adopt(told):
                return

    def beats(self):
        for gateway in list(self.gateways):
            self.beat(gateway)

    def held(self, name):
        """The shares of one limit that are in use, of all gateways that run."""
        return [
            one.callers._shares.share(name)
            for one in self.gateways
            if one.alive and not one.left and one.callers._shares is not None
        ]
