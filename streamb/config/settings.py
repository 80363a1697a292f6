"""Declares the settings: names, types, limits, presets, and the feature that enforces each.

`Settings` is only the declaration; `streamb.config.loading` checks combinations of values and writes the errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, PrivateAttr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streamb.config.addresses import (
    AbsolutePath,
    ArtifactUrl,
    DatabaseUrl,
    GroupRoles,
    Hosts,
    Issuer,
    Origins,
    is_loopback,
)
from streamb.config.alerting import channel_names
from streamb.config.environment import PREFIX, read_variable
from streamb.options import NotNegative, Share, WindowMinutes

Environment = Literal["development", "staging", "production"]
ENVIRONMENTS: Final[tuple[Environment, ...]] = get_args(Environment)

_AT_LEAST_0: Final[Mapping[str, Any]] = {"ge": 0, "allow_inf_nan": False}


def _setting(default: Any, description: str, *, later: str | None = None, **limits: Any) -> Any:
    """Declare a setting with the same default in each environment; `later` names the feature that will enforce it."""
    return Field(default, description=description, json_schema_extra={"later": later}, **limits)


def _preset(values: tuple[Any, Any, Any], description: str, *, later: str | None = None, **limits: Any) -> Any:
    """Declare a setting whose default depends on the environment: (development, staging, production)."""
    extra: dict[str, Any] = {"later": later, "presets": dict(zip(ENVIRONMENTS, values, strict=True))}
    return Field(values[0], description=description, json_schema_extra=extra, **limits)


class _PresetSource(PydanticBaseSettingsSource):
    """Values that are not given explicitly: the environment from NODE_ENV, its presets, and implied settings."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("values depend on each other: see __call__")

    def __call__(self) -> dict[str, Any]:
        explicit = self.current_state
        environment = explicit.get("environment") or read_variable("NODE_ENV") or ENVIRONMENTS[0]
        values: dict[str, Any] = {"environment": environment}
        for name, declared in Settings.model_fields.items():
            if presets := extra_of(name).get("presets"):
                values[name] = presets.get(environment, declared.default)
        return values | {name: value for name, (value, _) in implied(explicit).items()}


@dataclass(frozen=True, slots=True)
class GivenSetting:
    """The setting of an alert channel as it was given; the channel checks it.

    Attributes:
        value: the unchecked text; may be a secret.
        origin: "argument" or "variable NAME".
    """

    value: str = field(repr=False)
    origin: str


class Settings(BaseSettings):
    """The effective settings of one platform; immutable, picklable, and safe to print (secrets are left out).

    Build it with `load_settings`. Variables are named `ML_` + the attribute in capitals. Names that end in `_s` are
    seconds, in `_bytes` bytes.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", validate_default=True
    )

    environment: Environment = _setting("development", "Which presets apply.")

    # --- load ---
    max_concurrent_requests: int = _preset(
        (10, 50, 200), "Requests that one gateway works on at once; more wait in its queue.", ge=1
    )
    max_queued_requests: int = _setting(
        1_000, "Requests that may wait in one gateway; beyond that it answers 503 with Retry-After.", ge=0
    )
    request_timeout_s: float = _setting(
        30.0, "Longest time from a request to its answer; then 504.", gt=0, allow_inf_nan=False
    )
    max_body_bytes: int = _setting(16 << 20, "Largest request body; larger is 413.", ge=1)
    max_request_rows: int = _setting(20_000, "Most rows in one request.", ge=1)
    max_batch_rows: int = _setting(4_096, "Most rows that go to a model in one call.", ge=1)
    max_artifact_bytes: int = _setting(2 << 30, "Largest model artifact that may be registered.", ge=1)

    # --- processes ---
    gateway_replicas: int = _preset((1, 2, 2), "Gateway processes; with two, the death of one goes unnoticed.", ge=1)
    console_replicas: int = _setting(1, "Console processes.", ge=1)
    replica_cpus: float = _setting(
        0.1, "CPU share that each replica of a model version reserves on the cluster.", **_AT_LEAST_0
    )
    min_instances: int = _preset((1, 2, 5), "Replicas of each model version.", ge=1)
    max_instances: int = _preset((1, 8, 50), "Most replicas that auto scaling may start for a model version.", ge=1)
    enable_auto_scaling: bool = _preset((False, True, True), "Change the number of replicas with the load.")
    start_timeout_s: float = _setting(
        120.0, "How long the platform or a model version may take to start.", gt=0, allow_inf_nan=False
    )
    environment_timeout_s: float = _setting(
        300.0, "How long the installation of a version's own environment may take.", gt=0, allow_inf_nan=False
    )
    trial_timeout_s: float = _setting(
        120.0, "How long the trial of a version may take before it is refused.", gt=0, allow_inf_nan=False
    )
    trial_isolation: bool = _setting(
        default=True,
        description="Try versions behind a boundary (docs/security.md) where the machine has one; "
        "false: as the platform's user.",
    )
    trial_memory_bytes: int = _setting(
        0, "Most memory that the trial of a version may use before it is refused; 0: not limited.", ge=0
    )
    ray_address: str | None = _setting(None, "Join this Ray cluster instead of starting one on this machine.")

    # --- where things are kept ---
    state_dir: AbsolutePath = _setting(Path(".streamb"), "Folder for the database, artifacts, keys and state files.")
    database_url: DatabaseUrl | None = _setting(
        None, "PostgreSQL or SQLite; by default SQLite in the state directory.", repr=False
    )
    artifact_url: ArtifactUrl | None = _setting(
        None, "Where artifacts are kept (file, s3, gs); by default a folder in the state directory.", repr=False
    )

    # --- the address ---
    host: str = _setting("127.0.0.1", "Address to listen on.", min_length=1)
    port: int = _setting(8000, "Port to listen on; 0 takes any that is free.", ge=0, le=65_535)
    tls_cert_file: AbsolutePath | None = _setting(None, "Certificate chain (PEM); turns TLS on.")
    tls_key_file: AbsolutePath | None = _setting(None, "Private key of the certificate (PEM).")
    encrypt_in_transit: bool = _preset(
        (False, False, True), "Refuse to listen without TLS, except on this machine alone."
    )

    # --- who may call ---
    enable_authentication: bool = _preset(
        (False, True, True), "Check API keys; speaks for ML_API_KEY_REQUIRED where that is not set."
    )
    api_key_required: bool = _preset((False, True, True), "Refuse requests that bring no API key.")
    enable_authorization: bool = _preset((False, True, True), "Check what each caller may do (docs/security.md).")
    four_eyes: bool = _preset(
        (False, True, True), "Refuse the approval of a deployment by the person or service that created it."
    )
    unjudged_share: Share = _setting(
        0.25,
        "A rollout that gives a version more than this share of the traffic before it was judged counts as immediate.",
    )
    keys_last_s: float = _setting(
        3_600.0,
        "How long gateways accept the API keys they know while the Controller does not answer; then they answer 503.",
        ge=1,
        allow_inf_nan=False,
    )
    key_rotation_days: int = _setting(
        30, "Age in days from which an API key is marked as due for rotation, and warned about.", ge=1
    )
    session_hours: float = _setting(
        8.0, "How long a person stays signed in to the Console, in hours.", gt=0, le=720, allow_inf_nan=False
    )
    allowed_hosts: Hosts = _setting(
        "none", "Names, besides this machine's own, under which the platform may be called, with commas between."
    )

    # --- people: OpenID Connect ---
    oidc_issuer: Issuer | None = _setting(
        None, "The address of the OpenID Connect issuer whose tokens people may use in place of an API key."
    )
    oidc_audience: str | None = _setting(None, "The audience that such a token must name; needed with the issuer.")
    oidc_groups_claim: str = _setting("groups", "The claim of a token that lists the groups of a person.", min_length=1)
    oidc_roles: GroupRoles = _setting(
        "none", "Roles of groups: GROUP=ROLE with commas between; a person in none of them may do nothing."
    )

    # --- limits on callers ---
    rate_limit_enabled: bool = _preset((False, False, True), "Limit each caller's requests; beyond that 429.")
    rate_limit_observe_only: bool = _setting(
        default=False, description="Only count the requests that are above a limit, and let them pass."
    )
    rate_limit_requests_per_minute: int = _setting(
        1_000, "Sustained requests per minute of one API key to one model.", ge=1
    )
    rate_limit_burst: int = _setting(100, "Requests that a key may make at once, beyond the sustained ones.", ge=1)
    rate_limit_address_requests_per_minute: int = _setting(
        12_000, "Sustained requests per minute from one network address, counted before a key is looked at.", ge=1
    )
    rate_limit_address_burst: int = _setting(2_000, "Requests that an address may make at once, beyond those.", ge=1)

    cors_origins: Origins = _setting(
        "none", "Sites whose pages may call /v2 from a browser: origins with commas between, * for any, or none."
    )

    # --- encryption at rest and audit ---
    encrypt_at_rest: bool = _preset((False, False, True), "Encrypt stored artifacts.", later="encryption at rest")
    audit_enabled: bool = _preset((False, True, True), "Record who changed what.", later="the audit log")
    audit_log_all_requests: bool = _setting(default=False, description="Record predictions too.", later="the audit log")
    audit_retention_days: int = _setting(365, "Days that audit records are kept.", later="the audit log", ge=1)

    # --- reaction to failures and drift ---
    circuit_breaker_enabled: bool = _setting(
        default=True, description="Take a failing version out of traffic for a while."
    )
    circuit_breaker_failure_threshold: int = _setting(3, "Failures in a row that open the breaker.", ge=1)
    circuit_breaker_recovery_timeout_s: float = _setting(
        30.0, "Time until an open breaker lets trial requests pass.", gt=0, le=86_400
    )
    circuit_breaker_half_open_max_calls: int = _setting(10, "Trial requests while half open.", ge=1)
    drift_sensitivity: Literal["low", "medium", "high"] = _preset(
        ("low", "medium", "high"), "How small a drift raises an alert."
    )

    # --- monitoring ---
    monitoring_enabled: bool = _setting(default=True, description="Watch drift, health and alerts of what serves.")
    monitoring_interval_s: float = _setting(
        5.0, "About how often each replica and gateway tells the Monitor what it counted.", ge=0.1, le=10
    )
    monitoring_window_minutes: WindowMinutes = _setting(60, "Minutes of traffic whose drift is measured, ending now.")
    monitoring_max_latency_ms: NotNegative = _setting(
        1_000.0, "95th percentile of latency above which a version is not healthy; 0: not judged."
    )
    monitoring_max_error_rate: Share = _setting(
        0.05, "Share of failed requests above which a version is not healthy; 0: not judged."
    )
    monitoring_max_drift_score: Share = _setting(
        0.3, "Drift score above which a version is not healthy; 0: not judged."
    )
    monitoring_min_accuracy: Share = _setting(
        0.0, "Share of correct predictions below which a version is not healthy; 0: not judged."
    )
    monitoring_min_throughput: NotNegative = _setting(
        0.0, "Requests per second below which a version is not healthy; 0: not judged."
    )

    # --- where alerts go: docs/alerting.md ---
    alert_channels: Annotated[str, AfterValidator(channel_names)] = _setting(
        "log", "Where alerts go: names of channels with commas between, or none."
    )
    alert_ca_file: AbsolutePath | None = _setting(
        None, "Certificates (PEM) to trust, besides the usual ones, when alerts are sent."
    )
    alert_allow_private_addresses: bool = _setting(
        default=False, description="Post alerts to receivers inside the own network, too."
    )
    alert_options_file: AbsolutePath | None = _setting(None, "How alerts are routed, grouped and repeated (TOML).")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - variables only, no hidden files
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _PresetSource(settings_cls)

    _channel_settings: Mapping[str, GivenSetting] = PrivateAttr(default_factory=dict)

    @property
    def channel_settings(self) -> Mapping[str, GivenSetting]:
        """The given settings of single channels, by name ("alert_slack_webhook_url"); each channel reads its own."""
        return self._channel_settings

    def with_channel_settings(self, given: Mapping[str, GivenSetting]) -> Self:
        """Return a copy with the given settings of single channels."""
        copy = self.model_copy()
        copy._channel_settings = given  # noqa: SLF001 - of the same class
        return copy

    def without_secrets(self) -> Self:
        """Return a copy for processes that open neither the database nor an alert channel, with no secret of theirs.

        Ray Serve keeps the arguments of a deployment, and answers anybody on the cluster who asks for them.
        """
        return self.model_copy(update={"database_url": None}).with_channel_settings({})

    @property
    def resolved_database_url(self) -> str:
        """The SQLAlchemy URL of the database; it contains the password, so never log it."""
        return self.database_url or f"sqlite:///{self.state_dir / 'streamb.db'}"

    @property
    def resolved_artifact_url(self) -> str:
        """The fsspec URL of the artifact store."""
        return self.artifact_url or f"file://{self.state_dir / 'artifacts'}"

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`; empty for none."""
        return () if self.cors_origins == "none" else tuple(self.cors_origins.split(","))

    @property
    def known_hosts(self) -> frozenset[str]:
        """The names of `allowed_hosts`; empty for none."""
        return frozenset() if self.allowed_hosts == "none" else frozenset(self.allowed_hosts.split(","))

    @property
    def roles_of_groups(self) -> Mapping[str, frozenset[str]]:
        """The roles of each group of `oidc_roles`; empty for none."""
        roles: dict[str, frozenset[str]] = {}
        for pair in () if self.oidc_roles == "none" else self.oidc_roles.split(","):
            group, _, role = pair.rpartition("=")
            roles[group] = roles.get(group, frozenset()) | {role}
        return roles

    @property
    def tls_enabled(self) -> bool:
        """True if a certificate is set, so that clients use HTTPS."""
        return self.tls_cert_file is not None

    @property
    def loopback_only(self) -> bool:
        """True if other machines cannot reach the address that the platform listens on."""
        return is_loopback(self.host)


def implied(explicit: Mapping[str, Any]) -> dict[str, tuple[bool, str]]:
    """Return the values that one of three related switches implies for those that are not set.

    Requiring keys or checking permissions implies authentication. Authentication implies that keys are required;
    without it, keys are not required and permissions are not checked.
    Returns setting -> (value, the setting that implies it); a value that is not a boolean implies nothing.
    """
    said = {name: value for name, raw in explicit.items() if (value := _boolean(raw)) is not None}
    implied: dict[str, tuple[bool, str]] = {}
    authentication, source = said.get("enable_authentication"), "enable_authentication"
    if authentication is None:
        for name in ("api_key_required", "enable_authorization"):
            if said.get(name):
                authentication, source = True, name
                implied["enable_authentication"] = (True, name)
                break
    if authentication is not None and "api_key_required" not in said:
        implied["api_key_required"] = (authentication, source)
    if authentication is False and "enable_authorization" not in said:
        implied["enable_authorization"] = (False, source)
    return implied


def _boolean(raw: Any) -> bool | None:
    """Read a boolean as pydantic does; None if it is not one."""
    text = str(raw).strip().lower()
    if text in {"true", "1", "yes", "y", "on", "t"}:
        return True
    return False if text in {"false", "0", "no", "n", "off", "f"} else None


def extra_of(name: str) -> dict[str, Any]:
    """Return the further properties of a setting's declaration: `later`, `presets`."""
    extra = Settings.model_fields[name].json_schema_extra
    return extra if isinstance(extra, dict) else {}
