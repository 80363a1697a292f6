"""The limits on callers, in one process: a token bucket for each key and model, and for each network address.

A bucket holds at most the burst and gains tokens at the sustained rate; a request takes one or is refused. A process
that is one of several has a share of every limit (`traffic.shares`), and so a part of the burst and of the rate. A
larger share brings no tokens, a smaller one takes those above its burst away: so what all processes together let
through is bounded by burst and rate, however the shares move.
"""

from __future__ import annotations

import hmac
import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, NamedTuple

from streamb.clock import Clock
from streamb.errors import RateLimited
from streamb.traffic import RateLimits
from streamb.traffic.shares import FROM_ADDRESS, NO_SHARES, Name, Shares, Uses

CLIENT_HEADER: Final = b"x-streamb-client"
"""The header in which the edge names the address of the client, behind a secret that only it and its servers know."""

MOST_BUCKETS: Final = 16_384
"""How many buckets of each kind a process keeps; each takes about 400 bytes."""
MOST_TOLD: Final = 256
"""Of how many limits of each kind a process tells its use."""

_MINUTE_S: Final = 60.0
_ALMOST_ONE: Final = 1.0 - 1e-9
_ALL: Final = 0.999
_LONGEST_WAIT_S: Final = 60.0

Headers = list[tuple[bytes, bytes]]


class Quota(NamedTuple):
    """What a limit leaves to a caller.

    Attributes:
        left: how many more requests pass at once here; below 0 if the request that asked is one too many.
        wait_s: seconds until the next request passes, or, if some do now, until the bucket is full again.
        fixed: the response headers that are the same for every answer under this limit.
    """

    left: float
    wait_s: float
    fixed: Headers

    def headers(self) -> Headers:
        """Return the response headers: those of the IETF's drafts 11 (two fields) and 06 (four)."""
        left, wait_s = max(0, int(self.left)), math.ceil(self.wait_s)
        return [
            *self.fixed,
            (b"ratelimit", b'"default";r=%d;t=%d' % (left, wait_s)),
            (b"ratelimit-remaining", b"%d" % left),
            (b"ratelimit-reset", b"%d" % wait_s),
        ]


class _Bucket:
    """One bucket: its tokens at a time, and the share that it has of the limit's rate and burst."""

    __slots__ = ("at", "cap", "half", "rate", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.cap = self.rate = self.half = 0.0

    def settle(self, now: float) -> None:
        """Add the tokens since it was last looked at."""
        if now > self.at:
            self.tokens = min(self.cap, self.tokens + self.rate * (now - self.at))
            self.at = now


class Buckets:
    """The buckets of one kind of limit. All that is forgotten of a bucket is that it was full.

    Args:
        per_minute: the sustained rate of each limit.
        burst: the most tokens of each.
        shares: this process's shares.
        filled: the part of each burst that it begins with.
        now: monotonic seconds.
        most: how many buckets are kept.
    """

    def __init__(
        self, per_minute: int, burst: int, shares: Shares, filled: float, now: float, most: int = MOST_BUCKETS
    ) -> None:
        self.size = per_minute, burst
        self.asked: dict[Name, int] = {}
        policy = b'"default";q=%d;w=60;burst=%d' % (per_minute, burst)
        self.fixed: Headers = [(b"ratelimit-policy", policy), (b"ratelimit-limit", b"%d" % per_minute)]
        self._per_second = per_minute / _MINUTE_S
        self._burst = float(burst)
        self._most = most
        self._shares = shares
        self._known: OrderedDict[Name, _Bucket] = OrderedDict()
        self._untouched = _Bucket(filled * burst, now)  # what the buckets that nobody asked for hold
        self._resize(self._untouched, shares.default, now)
        self.adopt(shares, now)

    def __len__(self) -> int:
        return len(self._known)

    def take(self, name: Name, now: float) -> Quota:
        """Take a token for one request; `left` is below 0, and nothing taken, if there is none."""
        one = self._known.get(name)
        if one is None:
            one = self._new(name, now)
        else:
            self._known.move_to_end(name)
            one.settle(now)
        tokens = one.tokens
        if tokens < one.half or name in self._shares.of:
            self._count(name)
        if tokens >= _ALMOST_ONE:
            one.tokens = tokens = max(0.0, tokens - 1.0)
            return Quota(tokens, (one.cap - tokens) / one.rate if one.rate else 0.0, self.fixed)
        wait_s = (1.0 - tokens) / one.rate if one.rate else 1.0
        return Quota(tokens - 1.0, min(wait_s, _LONGEST_WAIT_S), self.fixed)

    def adopt(self, shares: Shares, now: float) -> None:
        """Use other shares from now on."""
        before, self._shares = self._shares, shares
        changed = before.of.keys() | shares.of.keys()
        if shares.default != before.default:
            self._forget_full(now, changed)
            changed |= self._known.keys()
        for name in changed:
            one = self._known.get(name)
            if one is None and name in shares.of:
                one = self._new(name, now)
            if one is not None:
                self._resize(one, shares.share(name), now)
        self._resize(self._untouched, shares.default, now)

    def stop(self, now: float) -> None:
        """Gain no more tokens: the shares are given up, and only what is left may still be used."""
        for one in (self._untouched, *self._known.values()):
            one.settle(now)
            one.rate = 0.0

    def _new(self, name: Name, now: float) -> _Bucket:
        self._untouched.settle(now)
        while len(self._known) >= self._most:
            self._evict(now)
        one = self._known[name] = _Bucket(self._untouched.tokens, now)
        one.cap, one.rate, one.half = self._untouched.cap, self._untouched.rate, self._untouched.half
        return one

    def _evict(self, now: float) -> None:
        """Forget the bucket that was used longest ago. Had it not been full, new ones are as empty as it was."""
        name, one = self._known.popitem(last=False)
        if name in self._shares.of:  # at most `MOST_TOLD`, far fewer than there is room for
            self._known[name] = one
            return
        one.settle(now)
        self._untouched.tokens = min(self._untouched.tokens, one.tokens)

    def _forget_full(self, now: float, keep: set[Name]) -> None:
        for name, one in list(self._known.items()):
            one.settle(now)
            if one.tokens >= one.cap and self._untouched.tokens >= self._untouched.cap and name not in keep:
                del self._known[name]

    def _resize(self, one: _Bucket, share: float, now: float) -> None:
        one.settle(now)
        # A bucket with any share holds a whole token at least, else it would let nothing through, ever.
        one.cap = max(1.0, share * self._burst) if share > 0.0 else 0.0
        one.rate = share * self._per_second
        one.half = one.cap / 2.0 if share < _ALL else -1.0  # there is nothing to ask for if one has all
        one.tokens = min(one.tokens, one.cap)

    def _count(self, name: Name) -> None:
        known = self.asked.get(name)
        if known is not None:
            self.asked[name] = known + 1
        elif len(self.asked) < MOST_TOLD or name in self._shares.of:
            self.asked[name] = 1


class CallerLimits:
    """What callers may ask of one process. It belongs to one event loop.

    Args:
        clock: the source of time.
        edge_secret: what the edge proves itself with; "" if there is no edge.
        divided: whether shares are told by the Controller; until then nothing passes. Otherwise this process takes an
            even part of every limit.

    Attributes:
        counted: how many requests were above a limit, by kind ("key", "address") and what became of them ("refused",
            "observed").
    """

    def __init__(self, clock: Clock, edge_secret: str = "", *, divided: bool = False) -> None:
        self._clock = clock
        self._proof = f"{edge_secret} ".encode() if edge_secret else b""
        self._divided = divided
        self._shares: Shares | None = None
        self._limits: RateLimits | None = None
        self._keys: Buckets | None = None
        self._addresses: Buckets | None = None
        self.counted: Counter[tuple[str, str]] = Counter()

    @property
    def active(self) -> bool:
        """Whether there are any limits."""
        return self._limits is not None

    # --- what the Controller tells ------------------------------------------------------------------------------------

    def use(self, limits: RateLimits | None) -> None:
        """Put limits in force; None for none. What was used under limits of the same size still counts."""
        if limits == self._limits:
            return
        first, self._limits = self._keys is None, limits
        if limits is None:
            return
        now, shares = self._clock.monotonic(), self._shares or NO_SHARES
        if not self._divided:
            shares = Shares(1.0 / limits.gateways, filled=1.0 / limits.gateways)
        filled = shares.filled if first else 0.0
        if self._keys is None or self._keys.size != (limits.per_minute, limits.burst):
            self._keys = Buckets(limits.per_minute, limits.burst, of_kind(shares, addresses=False), filled, now)
        size = limits.address_per_minute, limits.address_burst
        if self._addresses is None or self._addresses.size != size:
            self._addresses = Buckets(*size, of_kind(shares, addresses=True), filled, now)

    def adopt(self, shares: Shares) -> bool:
        """Use the shares that the Controller told; return whether some were given up, which it should hear soon."""
        before, self._shares = self._shares, shares
        now = self._clock.monotonic()
        for addresses, buckets in ((False, self._keys), (True, self._addresses)):
            if buckets is not None:
                if before is None:
                    begun = Buckets(*buckets.size, of_kind(shares, addresses=addresses), shares.filled, now)
                    self._keys, self._addresses = (self._keys, begun) if addresses else (begun, self._addresses)
                else:
                    buckets.adopt(of_kind(shares, addresses=addresses), now)
        if before is None:
            return True
        names = before.of.keys() | shares.of.keys()
        return shares.default < before.default or any(shares.share(name) < before.share(name) for name in names)

    def uses(self) -> Uses:
        """Return what the Controller is told; the counts begin anew."""
        asked: dict[Name, int] = {}
        for buckets in (self._keys, self._addresses):
            if buckets is not None:
                asked |= buckets.asked
                buckets.asked = {}
        return Uses(self._shares, asked)

    def leave(self) -> None:
        """Give up all shares, because this process ends; what is left in its buckets may still be used."""
        now = self._clock.monotonic()
        for buckets in (self._keys, self._addresses):
            if buckets is not None:
                buckets.stop(now)

    # --- what callers ask ---------------------------------------------------------------------------------------------

    def address_of(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> str:
        """Return the network that a request comes from: "@" and an IPv4 address, or the first half of an IPv6 address.

        It is what the edge says, if it was the edge that said it; otherwise the peer of the connection.
        """
        said = headers.get(CLIENT_HEADER)
        if said is not None and self._proof and hmac.compare_digest(said[: len(self._proof)], self._proof):
            return _network(said[len(self._proof) :].decode("latin-1"))
        client = scope.get("client")
        return _network(client[0] if client else "")

    def from_address(self, address: str, now: float) -> Quota | None:
        """Count a request of an address, before anything else is known of it; None if there are no limits.

        Raises:
            RateLimited: there were too many.
        """
        limits, buckets = self._limits, self._addresses
        if limits is None or buckets is None:
            return None
        quota = buckets.take((address, FROM_ADDRESS), now)
        if quota.left < 0.0:
            self._exceeded("address", f"address {address[1:]}", *buckets.size, quota, limits)
        return quota

    def from_caller(self, key_id: str, address: str, model_id: str, now: float) -> Quota | None:
        """Count a request of a key, or of an address without one, to a model; None if there are no limits.

        Args:
            key_id: the id of the key; "" if the request brought none.
            address: where it comes from, as `address_of` returns it.
            model_id: the model; "" if there is none of that name, or the request is about no model.
            now: monotonic seconds.

        Raises:
            RateLimited: there were too many.
        """
        limits, buckets = self._limits, self._keys
        if limits is None or buckets is None:
            return None
        quota = buckets.take((key_id or address, model_id), now)
        if quota.left < 0.0:
            who = f"key {key_id}" if key_id else f"address {address[1:]}, which sends no key"
            self._exceeded("key", f"{who} to model {model_id}" if model_id else who, *buckets.size, quota, limits)
        return quota

    def _exceeded(self, kind: str, who: str, per_minute: int, burst: int, quota: Quota, limits: RateLimits) -> None:
        if limits.observe_only:
            self.counted[kind, "observed"] += 1
            return
        self.counted[kind, "refused"] += 1
        raise Exceeded(
            f"too many requests: the limit of {who} is {per_minute} a minute and {burst} at once; "
            f"try again in {max(1, math.ceil(quota.wait_s))} s",
            quota,
        )


class Exceeded(RateLimited):
    """A limit on callers was reached.

    Attributes:
        quota: what is left of it.
    """

    def __init__(self, message: str, quota: Quota) -> None:
        super().__init__(message, retry_after_s=max(1, math.ceil(quota.wait_s)))
        self.quota = quota

    def __reduce__(self) -> tuple[Any, ...]:
        return Exceeded, (self.message, self.quota)


def of_kind(shares: Shares, *, addresses: bool) -> Shares:
    """Return the shares of the limits on addresses, or of the other limits."""
    of = {name: share for name, share in shares.of.items() if (name[1] == FROM_ADDRESS) is addresses}
    return Shares(shares.default, of, shares.filled)


@lru_cache(maxsize=4096)
def _network(text: str) -> str:
    """Return the network of an address in text: itself, or the first 64 bits of an IPv6 address: one customer's.

    >>> _network("::ffff:192.0.2.1"), _network("2001:db8:1:2:3::4")
    ('@192.0.2.1', '@2001:db8:1:2::')
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return "@unknown"
    if not isinstance(address, IPv6Address):
        return f"@{address}"
    if address.ipv4_mapped is not None:
        return f"@{address.ipv4_mapped}"
    return f"@{IPv6Address(int(address) >> 64 << 64)}"
