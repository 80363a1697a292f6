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
from typing import Any, Final

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
_LONGEST_SAID: Final = 128
_CHANCES: Final = 8

Headers = list[tuple[bytes, bytes]]

_PREPARED: Final = 1024
_REMAINING: Final = [b"ratelimit-remaining: %d\r\n" % left for left in range(_PREPARED)]
_RESET: Final = [b"ratelimit-reset: %d\r\n" % seconds for seconds in range(int(_LONGEST_WAIT_S) + 1)]


class Bucket:
    """One bucket: its tokens at a time, and the share that it has of the limit's rate and burst."""

    __slots__ = ("at", "cap", "few", "of", "rate", "token_s", "tokens")

    def __init__(self, of: Buckets, tokens: float, at: float) -> None:
        self.of = of
        self.tokens = tokens
        self.at = at
        self.cap = self.rate = self.few = 0.0
        self.token_s = _LONGEST_WAIT_S

    @property
    def wait_s(self) -> float:
        """Seconds until the next request passes, or, if some do now, until the bucket is full again."""
        tokens = self.tokens
        missing = self.cap - tokens if tokens >= _ALMOST_ONE else 1.0 - tokens
        seconds = missing * self.token_s
        return seconds if seconds < _LONGEST_WAIT_S else _LONGEST_WAIT_S

    def lines(self) -> bytes:
        """Return the response headers that say what is left here, as HTTP/1.1: those of the IETF's drafts up to 06."""
        left = int(self.tokens)
        remaining = _REMAINING[left] if left < _PREPARED else b"ratelimit-remaining: %d\r\n" % left
        return b"%b%b%b" % (self.of.limit_line, remaining, _RESET[int(self.wait_s + _ALMOST_ONE)])

    def headers(self) -> Headers:
        """Return the same as names and values."""
        pairs = (line.partition(b": ") for line in self.lines().splitlines())
        return [(name, value) for name, _, value in pairs]

    def refusal_headers(self) -> Headers:
        """Return the headers of a refusal, which has those of draft 11 as well."""
        said = b'"default";r=0;t=%d' % math.ceil(self.wait_s)
        return [*self.headers(), self.of.policy_header, (b"ratelimit", said)]

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
        self.limit_line = b"ratelimit-limit: %d\r\n" % per_minute
        self.policy_header = b"ratelimit-policy", b'"default";q=%d;w=60;burst=%d' % (per_minute, burst)
        self._per_second = per_minute / _MINUTE_S
        self._burst = float(burst)
        self._most = most
        self._shares = shares
        self._own = shares.of
        self._known: OrderedDict[Name, Bucket] = OrderedDict()
        self._untouched = Bucket(self, filled * burst, now)  # what the buckets that nobody asked for hold
        self._resize(self._untouched, shares.default, now)
        self.adopt(shares, now)

    def __len__(self) -> int:
        return len(self._known)

    def take(self, name: Name, now: float) -> tuple[Bucket, bool]:
        """Take a token for one request; return the bucket, and whether it had one."""
        one = self._known.get(name)
        if one is None:
            one = self._new(name, now)
        tokens = one.tokens
        if now > one.at:  # as `settle`, which would be a call for every request
            tokens += one.rate * (now - one.at)
            one.at = now
            if tokens > one.cap:
                tokens = one.cap
        if tokens < one.few:
            self._count(name)
        if tokens < _ALMOST_ONE:
            one.tokens = tokens
            return one, False
        one.tokens = tokens - 1.0 if tokens > 1.0 else 0.0
        return one, True

    def adopt(self, shares: Shares, now: float) -> None:
        """Use other shares from now on."""
        before, self._shares, self._own = self._shares, shares, shares.of
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
                if name in shares.of:
                    one.few = math.inf  # all its requests are counted
        self._resize(self._untouched, shares.default, now)

    def stop(self, now: float) -> None:
        """Gain no more tokens: the shares are given up, and only what is left may still be used."""
        for one in (self._untouched, *self._known.values()):
            one.settle(now)
            one.rate, one.token_s = 0.0, _LONGEST_WAIT_S

    def _new(self, name: Name, now: float) -> Bucket:
        self._untouched.settle(now)
        while len(self._known) >= self._most:
            self._evict(now)
        one = self._known[name] = Bucket(self, self._untouched.tokens, now)
        like = self._untouched
        one.cap, one.rate, one.token_s, one.few = like.cap, like.rate, like.token_s, like.few
        return one

    def _evict(self, now: float) -> None:
        """Forget a full bucket, if one of the oldest is. If it is another one of a key, new ones are as empty as it is.

        So nobody gets a new burst by having a bucket forgotten. Who calls from so many addresses that the table is full
        of buckets in use is not held by limits on addresses, and must not take the others' bursts away.
        """
        for chance in range(_CHANCES + len(self._own) + 1):
            name, one = self._known.popitem(last=False)
            one.settle(now)
            if name not in self._own and (one.tokens >= self._untouched.tokens or chance >= _CHANCES):
                if not name[0].startswith(FROM_ADDRESS):
                    self._untouched.tokens = min(self._untouched.tokens, one.tokens)
                return
            self._known[name] = one

    def _forget_full(self, now: float, keep: set[Name]) -> None:
        for name, one in list(self._known.items()):
            one.settle(now)
            if one.tokens >= one.cap and self._untouched.tokens >= self._untouched.cap and name not in keep:
                del self._known[name]

    def _resize(self, one: Bucket, share: float, now: float) -> None:
        one.settle(now)
        # A bucket with any share holds a whole token at least, else it would let nothing through, ever.
        one.cap = max(1.0, share * self._burst) if share > 0.0 else 0.0
        one.rate = share * self._per_second
        one.token_s = 1.0 / one.rate if one.rate > 0.0 else _LONGEST_WAIT_S
        one.few = one.cap / 2.0 if share < _ALL else -1.0  # there is nothing to ask for if one has all
        one.tokens = min(one.tokens, one.cap)

    def _count(self, name: Name) -> None:
        known = self.asked.get(name)
        if known is not None:
            self.asked[name] = known + 1
        elif len(self.asked) < MOST_TOLD or name in self._own:
            self.asked[name] = 1


class CallerLimits:
    """What callers may ask of one process. It belongs to one event loop.

    Args:
        clock: the source of time.
        edge_secret: what the edge proves itself with; "" if there is no edge.
        divided: whether shares are told by the Controller; until then nothing passes. Otherwise this process takes an
            even part of every limit.

    Attributes:
        active: whether there are any limits.
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
        self._said_by_edge = lru_cache(maxsize=4096)(self._read)
        self.active = False
        self.counted: Counter[tuple[str, str]] = Counter()

    # --- what the Controller tells ------------------------------------------------------------------------------------

    def use(self, limits: RateLimits | None) -> None:
        """Put limits in force; None for none. What was used under limits of the same size still counts."""
        if limits == self._limits:
            return
        first, self._limits = self._keys is None, limits
        self.active = limits is not None
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

    def address_of(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Name:
        """Return the name of the limit on the network that a request comes from.

        That is an IPv4 address, or the first half of an IPv6 address: as the edge says it, if it was the edge that said
        it, otherwise that of the connection's peer.
        """
        said = headers.get(CLIENT_HEADER)
        known = self._said_by_edge(said) if said is not None and len(said) <= _LONGEST_SAID else None
        if known is not None:
            return known
        client = scope.get("client")
        return _network(client[0] if client else "")

    def _read(self, said: bytes) -> Name | None:
        proof = self._proof
        if not proof or not hmac.compare_digest(said[: len(proof)], proof):
            return None
        return _network(said[len(proof) :].decode("latin-1"))

    def from_address(self, address: Name, now: float) -> None:
        """Count a request of an address, before anything else is known of it.

        Args:
            address: where it comes from, as `address_of` returns it.
            now: monotonic seconds.

        Raises:
            Exceeded: there were too many.
        """
        if self._addresses is not None:
            bucket, passes = self._addresses.take(address, now)
            if not passes:
                self._exceeded("address", f"address {address[0][1:]}", bucket)

    def from_caller(self, key_id: str, address: Name, model_id: str, now: float) -> Bucket | None:
        """Count a request of a key, or of an address without one, to a model; return its bucket.

        Args:
            key_id: the id of the key, or the name of a person without one; "" if the request brought neither.
            address: where it comes from, as `address_of` returns it.
            model_id: the model; "" if there is none of that name, or the request is about no model.
            now: monotonic seconds.

        Raises:
            Exceeded: there were too many.
        """
        if self._keys is None:
            return None
        bucket, passes = self._keys.take((key_id or address[0], model_id), now)
        if not passes:
            who = f"caller {key_id}" if key_id else f"address {address[0][1:]}, which sends no key"
            self._exceeded("key", f"{who} to model {model_id}" if model_id else who, bucket)
        return bucket

    def _exceeded(self, kind: str, who: str, bucket: Bucket) -> None:
        if self._limits is None or self._limits.observe_only:
            self.counted[kind, "observed"] += 1
            return
        self.counted[kind, "refused"] += 1
        (per_minute, burst), wait_s = bucket.of.size, max(1, math.ceil(bucket.wait_s))
        said = f"too many requests: the limit of {who} is {per_minute} a minute and {burst} at once"
        raise Exceeded(f"{said}; try again in {wait_s} s", bucket.refusal_headers(), retry_after_s=wait_s)


class Exceeded(RateLimited):
    """A limit on callers was reached.

    Attributes:
        headers: the response headers that say so.
    """

    def __init__(self, message: str, headers: Headers | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.headers = headers or []


def of_kind(shares: Shares, *, addresses: bool) -> Shares:
    """Return the shares of the limits on addresses, or of the other limits."""
    of = {name: share for name, share in shares.of.items() if (name[1] == FROM_ADDRESS) is addresses}
    return Shares(shares.default, of, shares.filled)


@lru_cache(maxsize=4096)
def _network(text: str) -> Name:
    """Return the name of the limit on an address: itself, or the first 64 bits of an IPv6 address, one customer's.

    >>> _network("::ffff:192.0.2.1"), _network("2001:db8:1:2:3::4")
    (('@192.0.2.1', '@'), ('@2001:db8:1:2::', '@'))
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return "@unknown", FROM_ADDRESS
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64)
    return f"@{address}", FROM_ADDRESS
