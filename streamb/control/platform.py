"""`build(settings)` creates and connects the parts of the control side; the runtime that runs models is passed in."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamb.clock import Clock, SystemClock
from streamb.config import Settings
from streamb.crypto import PublicKey, SigningKey, create_once
from streamb.errors import StorageFailed
from streamb.hashing import BASIS_POINTS
from streamb.registry import ArtifactStore, Registry
from streamb.registry.trial import Trier
from streamb.rollouts.controller import Rollouts
from streamb.rollouts.decide import Limits
from streamb.rollouts.observation import DriftOf, Outcomes
from streamb.rollouts.runtime import Runtime
from streamb.security.directory import OPERATOR, Directory
from streamb.security.keys import KeyRing, new_plaintext
from streamb.security.permissions import Permission, Role
from streamb.security.platform_key import PlatformKey
from streamb.security.principals import Kind, PrincipalRecord
from streamb.store import Database, Idempotency, RecordStore, open_blobs, open_database
from streamb.traffic import BreakerPolicy, GatewayPolicy, KeyGrant, RateLimits
from streamb.trials.process import TrialProcesses

API_KEY_FILE: Final = "api-key"
"""Name of the file with the operator's key, in the state directory; only its owner may read it."""
_TOKEN_KEY_BYTES: Final = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Platform:
    """The control side of one streamb platform."""

    settings: Settings
    clock: Clock
    database: Database
    registry: Registry
    rollouts: Rollouts
    directory: Directory
    keys: KeyRing
    idempotency: Idempotency
    policy: PolicyDesk = field(default_factory=lambda: PolicyDesk(GatewayPolicy))

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def build(
    settings: Settings,
    runtime: Runtime,
    clock: Clock | None = None,
    *,
    outcomes: Outcomes | None = None,
    drift: DriftOf | None = None,
    on_table: Callable[[], None] | None = None,
    on_order: Callable[[], None] = lambda: None,
) -> Platform:
    """Open the store, then create and connect all parts.

    Args:
        settings: the settings of the platform.
        runtime: starts, watches and stops apps.
        clock: the source of time; None for the system's clock.
        outcomes: counts of requests by outcome; deployments that proceed in steps are judged by them.
        drift: returns a version's drift score, for deployments with a limit on it.
        on_table: called from any thread when there is a newer routing table; must return at once.
        on_order: called from any thread after every order to a deployment; must return at once.

    Raises:
        StorageFailed: the database cannot be opened.
    """
    clock = clock or SystemClock()
    database = open_database(settings.resolved_database_url, clock)
    registry = Registry(database.records, database.journal, clock, blobs=open_blobs(settings.resolved_artifact_url))
    desk = PolicyDesk(lambda: gateway_policy(settings, keys, sealed))
    directory = Directory(database.records, clock, desk.changed)
    directory.ensure(PrincipalRecord(OPERATOR, Kind.PERSON, (Role.ADMIN,)))
    keys = KeyRing(database.records, clock, directory, desk.changed, file=settings.state_dir / API_KEY_FILE)
    keys.adopt(operator_key(settings.state_dir), OPERATOR)
    sealed = PlatformKey.create(settings.state_dir).seal(token_key(database.records))
    rollouts = Rollouts(
        database.records,
        database.journal,
        registry,
        runtime,
        clock,
        limits=Limits(start_s=settings.start_timeout_s),
        policy=gateway_policy(settings, keys, sealed),
        outcomes=outcomes,
        drift=drift,
        four_eyes=settings.four_eyes,
        most_unjudged=most_unjudged(settings),
        on_table=on_table,
        on_order=on_order,
    )
    desk.publish = rollouts.set_policy
    answers = Idempotency(database.records, clock)
    return Platform(settings, clock, database, registry, rollouts, directory, keys, answers, desk)


class PolicyDesk:
    """Publishes what the gateways enforce after each change of it: one at a time, so that no older one comes after.

    Args:
        make: returns what they shall enforce now.

    Attributes:
        publish: tells the gateways; None until there is what tells them, which knows of the changes before.
    """

    def __init__(self, make: Callable[[], GatewayPolicy]) -> None:
        self.publish: Callable[[GatewayPolicy], None] | None = None
        self._make = make
        self._lock = threading.Lock()
        self._owed = False

    def changed(self) -> None:
        """Publish a change that is stored already, so a failure here does not undo it: `settle` tries again."""
        if self.publish is None:
            return
        self._owed = True
        try:
            self.settle()
        except Exception:
            _log.exception("a change of keys or principals is stored, but not published; trying again")

    def settle(self) -> None:
        """Publish what changed, if that is still owed."""
        with self._lock:
            if not self._owed or self.publish is None:
                return
            self._owed = False  # first: what changes from here on is owed again
            try:
                self.publish(self._make())
            except BaseException:
                self._owed = True
                raise


def gateway_policy(settings: Settings, keys: KeyRing, sealed_token_key: bytes) -> GatewayPolicy:
    """Return what the gateways enforce under these settings, with the keys that are valid now.

    Without `enable_authorization` roles mean nothing, but a key that was narrowed by scopes or models stays so.
    """
    grants = {}
    for name, (record, principal, secret) in keys.allowed().items():
        ends = [end for end in (record.expires_at, secret.until) if end is not None]
        checked = settings.enable_authorization or principal.narrowed
        allowed = principal.permissions if checked else frozenset(Permission)
        permissions = frozenset(map(str, allowed))
        expires_at = min(ends, default=None)
        grants[name] = KeyGrant(record.key_id, principal.name, permissions, record.models, expires_at)
    return GatewayPolicy(
        api_key_required=settings.api_key_required or settings.enable_authorization,
        keys=grants,
        check_permissions=True,
        keys_last_s=settings.keys_last_s,
        limits=rate_limits(settings),
        breaker=breaker_policy(settings),
        token_key=sealed_token_key,
    )


def most_unjudged(settings: Settings) -> int:
    """Return the largest share of the traffic, in ten-thousandths, that a version may get before it is judged."""
    return BASIS_POINTS if settings.environment == "development" else round(settings.unjudged_share * BASIS_POINTS)


def rate_limits(settings: Settings) -> RateLimits | None:
    """Return the settings of the limits on callers; None if they are disabled."""
    if not settings.rate_limit_enabled:
        return None
    return RateLimits(
        per_minute=settings.rate_limit_requests_per_minute,
        burst=settings.rate_limit_burst,
        address_per_minute=settings.rate_limit_address_requests_per_minute,
        address_burst=settings.rate_limit_address_burst,
        observe_only=settings.rate_limit_observe_only,
        gateways=settings.gateway_replicas,
    )


def breaker_policy(settings: Settings) -> BreakerPolicy | None:
    """Return the settings of the gateways' circuit breakers; None if they are disabled."""
    if not settings.circuit_breaker_enabled:
        return None
    return BreakerPolicy(
        failure_threshold=settings.circuit_breaker_failure_threshold,
        recovery_timeout_s=settings.circuit_breaker_recovery_timeout_s,
        half_open_max_calls=settings.circuit_breaker_half_open_max_calls,
    )


def token_key(records: RecordStore) -> bytes:
    """Return the key that signs request tokens; it is created once for each platform.

    With signed tokens, feedback is joined to its prediction without a table of requests.
    """
    record = records.get("control", "token-key")
    if record is None:
        record = records.put("control", "token-key", {"value": secrets.token_hex(_TOKEN_KEY_BYTES)}, expected=0)
    return bytes.fromhex(record.body["value"])


def open_trier(settings: Settings, trusted: PublicKey) -> Trier:
    """Return what tries versions in a process of this machine; `trusted` as for `open_artifacts`."""
    return TrialProcesses(
        (trusted,),
        timeout_s=settings.trial_timeout_s,
        memory_bytes=settings.trial_memory_bytes,
        hidden=platform_files(settings) if settings.trial_isolation else None,
    )


def platform_files(settings: Settings) -> tuple[str, ...]:
    """Return the files and folders of the platform that isolated code must not reach."""
    stored = [settings.resolved_artifact_url.removeprefix("file://")]
    if settings.resolved_database_url.startswith("sqlite:///"):
        stored.append(settings.resolved_database_url.removeprefix("sqlite:///"))
    found = [settings.state_dir, settings.tls_key_file, *(path for path in stored if "://" not in path)]
    return tuple(str(Path(path).absolute()) for path in found if path)


def open_artifacts(
    settings: Settings, signing: SigningKey | None, trusted: PublicKey, trier: Trier | None = None
) -> ArtifactStore:
    """Return the artifact store of these settings.

    Args:
        settings: where artifacts are stored, and the largest size of one.
        signing: the platform's own key, to sign uploaded artifacts that carry code; None if artifacts are only loaded.
        trusted: the public key; artifacts signed with its private half may run their code when they are loaded.
        trier: tries versions before they are stored; None if artifacts are only loaded.
    """
    scratch = Path(settings.state_dir) / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    blobs = open_blobs(settings.resolved_artifact_url)
    return ArtifactStore(
        blobs,
        signing=signing,
        trusted=(trusted,),
        scratch=scratch,
        max_bytes=settings.max_artifact_bytes,
        trier=trier,
    )


def operator_key(state_dir: Path) -> str:
    """Return the operator's admin key from the state directory; it is created if there is none yet.

    The platform knows its digest only: whoever needs the key reads the file, and no process sends it.

    Raises:
        StorageFailed: the file cannot be created or read.
    """
    path = state_dir / API_KEY_FILE
    try:
        if not path.exists() or not path.read_text().strip():
            path.unlink(missing_ok=True)
            create_once(path, f"{new_plaintext()}\n".encode())
        return path.read_text().strip()
    except OSError as error:
        raise StorageFailed(f"the operator's key {path} cannot be read or created: {error.strerror}") from error
