"""Who may do what: the permissions, the roles, and the one table that says which request needs which permission.

The Console refuses a request whose route is not in the table, so a new route is closed until somebody gives it a
place. The gateways use `GATEWAY`. The tables in docs/security.md and the tests are made from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """One thing that a caller may be allowed to do; a key's scopes are permissions, too."""

    PREDICT = "predict"
    FEEDBACK = "feedback"
    READ = "read"
    PIN = "pin"
    DEPLOY = "deploy"
    APPROVE = "approve"
    JOB = "job"
    ADMIN = "admin"


class Role(StrEnum):
    """What a person or a service is to the platform; a principal may have several roles."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


MEANINGS: Final[Mapping[Permission, str]] = {
    Permission.PREDICT: "ask models for predictions",
    Permission.FEEDBACK: "tell what became of predictions",
    Permission.READ: "read models, deployments, health, metrics and alerts",
    Permission.PIN: "choose the version that answers, by `X-Model-Version` or the path",
    Permission.DEPLOY: "register versions; start, steer and roll back deployments; set baselines, thresholds, silences",
    Permission.APPROVE: "approve deployments of others",
    Permission.JOB: "what a job of the platform does: read, predict, register versions",
    Permission.ADMIN: "run code of one's own on the cluster, force what is refused, and manage keys and principals",
}
"""What each permission allows, for people."""

ROLES: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.OPERATOR: frozenset(
        {Permission.READ, Permission.PREDICT, Permission.FEEDBACK, Permission.PIN, Permission.DEPLOY}
    ),
    Role.APPROVER: frozenset({Permission.READ, Permission.APPROVE}),
    Role.ADMIN: frozenset(Permission),
}
"""The permissions of each role."""

Place = tuple[str, str]
"""Method and path pattern of a route."""

Needed = tuple[Permission, ...]
"""Permissions of which a caller needs one; empty: everybody may, even without a key."""

OPEN: Final[Needed] = ()
ANY: Final[Needed] = tuple(Permission)
"""What is open to whoever may do anything at all."""

_READ: Final[Needed] = (Permission.READ, Permission.JOB)
_DEPLOY: Final[Needed] = (Permission.DEPLOY,)
_REGISTER: Final[Needed] = (Permission.DEPLOY, Permission.JOB)
_APPROVE: Final[Needed] = (Permission.APPROVE,)
_ADMIN: Final[Needed] = (Permission.ADMIN,)

CONSOLE: Final[Mapping[Place, Needed]] = {
    ("GET", "/api/models"): _READ,
    ("POST", "/api/models"): _REGISTER,
    ("GET", "/api/models/{model_id}"): _READ,
    ("GET", "/api/models/{model_id}/status"): _READ,
    ("POST", "/api/models/{model_id}/undeploy"): _DEPLOY,
    ("PUT", "/api/models/{model_id}/aliases/{alias}"): _DEPLOY,
    ("DELETE", "/api/models/{model_id}/aliases/{alias}"): _DEPLOY,
    ("PUT", "/api/models/{model_id}/tags"): _DEPLOY,
    ("GET", "/api/models/{model_id}/versions"): _READ,
    ("POST", "/api/models/{model_id}/versions"): _REGISTER,
    ("GET", "/api/models/{model_id}/versions/{version}"): _READ,
    ("POST", "/api/models/{model_id}/versions/{version}/stage"): _DEPLOY,
    ("DELETE", "/api/models/{model_id}/versions/{version}"): _DEPLOY,
    ("GET", "/api/deployments"): _READ,
    ("POST", "/api/deployments"): _DEPLOY,
    ("GET", "/api/deployments/history"): _READ,
    ("GET", "/api/deployments/{deployment_id}"): _READ,
    ("POST", "/api/deployments/{deployment_id}/approve"): _APPROVE,
    ("POST", "/api/deployments/{deployment_id}/pause"): _DEPLOY,
    ("POST", "/api/deployments/{deployment_id}/resume"): _DEPLOY,
    ("POST", "/api/deployments/{deployment_id}/promote"): _DEPLOY,
    ("POST", "/api/deployments/{deployment_id}/abort"): _DEPLOY,
    ("POST", "/api/deployments/{deployment_id}/rollback"): _DEPLOY,
    ("GET", "/api/monitoring/system-health"): _READ,
    ("GET", "/api/monitoring/{model_id}/health"): _READ,
    ("GET", "/api/monitoring/{model_id}/drift"): _READ,
    ("GET", "/api/monitoring/{model_id}/thresholds"): _READ,
    ("POST", "/api/monitoring/{model_id}/thresholds"): _DEPLOY,
    ("GET", "/api/monitoring/{model_id}/baselines"): _READ,
    ("POST", "/api/monitoring/baseline"): _DEPLOY,
    ("GET", "/api/alerts"): _READ,
    ("GET", "/api/alerts/silences"): _READ,
    ("POST", "/api/alerts/silences"): _DEPLOY,
    ("DELETE", "/api/alerts/silences/{silence_id}"): _DEPLOY,
    ("GET", "/api/alerts/channels"): _READ,
    ("GET", "/api/alerts/deliveries"): _READ,
    ("POST", "/api/alerts/test"): _DEPLOY,
    ("GET", "/api/jobs"): _READ,
    ("POST", "/api/jobs"): _ADMIN,
    ("GET", "/api/jobs/{job_id}"): _READ,
    ("GET", "/api/jobs/{job_id}/logs"): _DEPLOY,
    ("POST", "/api/jobs/{job_id}/stop"): _DEPLOY,
    ("GET", "/api/keys"): _ADMIN,
    ("POST", "/api/keys"): _ADMIN,
    ("GET", "/api/keys/{key_id}"): _ADMIN,
    ("DELETE", "/api/keys/{key_id}"): _ADMIN,
    ("POST", "/api/keys/{key_id}/rotate"): _ADMIN,
    ("GET", "/api/principals"): _ADMIN,
    ("POST", "/api/principals"): _ADMIN,
    ("GET", "/api/principals/{name}"): _ADMIN,
    ("PUT", "/api/principals/{name}/roles"): _ADMIN,
    ("DELETE", "/api/principals/{name}"): _ADMIN,
    ("GET", "/api/status"): _READ,
    ("GET", "/metrics"): _READ,
    ("POST", "/api/session"): ANY,
    ("GET", "/api/session"): ANY,
    ("DELETE", "/api/session"): ANY,
    ("GET", "/healthz"): OPEN,
    ("HEAD", "/healthz"): OPEN,
    ("GET", "/"): _READ,
    ("GET", "/api/openapi.json"): _READ,
    ("GET", "/api/openapi-v2.json"): _READ,
    ("GET", "/api/docs"): _READ,
}
"""What each route of the Console needs."""

JUDGES_MODELS: Final[frozenset[Place]] = frozenset(
    {
        ("GET", "/api/models"),
        ("POST", "/api/models"),
        ("GET", "/api/deployments"),
        ("POST", "/api/deployments"),
        ("GET", "/api/deployments/history"),
        ("GET", "/api/deployments/{deployment_id}"),
        ("POST", "/api/deployments/{deployment_id}/approve"),
        ("POST", "/api/deployments/{deployment_id}/pause"),
        ("POST", "/api/deployments/{deployment_id}/resume"),
        ("POST", "/api/deployments/{deployment_id}/promote"),
        ("POST", "/api/deployments/{deployment_id}/abort"),
        ("POST", "/api/deployments/{deployment_id}/rollback"),
        ("POST", "/api/monitoring/baseline"),
        ("GET", "/api/alerts"),
        ("GET", "/api/status"),
        ("GET", "/api/openapi.json"),
        ("GET", "/api/openapi-v2.json"),
        ("GET", "/api/docs"),
        ("POST", "/api/session"),
        ("GET", "/api/session"),
        ("DELETE", "/api/session"),
    }
)
"""Routes without a model in their path that a key for some models may use: they look at the model of their body, or
leave other models out of their answer. All other routes without one are refused to such a key."""

GATEWAY: Final[Mapping[str, Needed]] = {
    "server": OPEN,
    "live": OPEN,
    "ready": OPEN,
    "models": (Permission.READ, Permission.PREDICT, Permission.JOB),
    "model": (Permission.READ, Permission.PREDICT, Permission.JOB),
    "model_ready": (Permission.READ, Permission.PREDICT, Permission.JOB),
    "predict": (Permission.PREDICT, Permission.JOB),
    "infer": (Permission.PREDICT, Permission.JOB),
    "feedback": (Permission.FEEDBACK,),
}
"""What each action of the data plane needs, by the name of `serving.http.routes.Action`; a request that names its
version needs `PIN` as well."""
