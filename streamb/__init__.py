"""streamb: register models, deploy them behind a gateway, and monitor them.

Public names are imported on first use, so `import streamb` is fast and a process loads only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamb.errors import StreambError
    from streamb.models import Feature, FeatureKind, FeatureSchema, Model
    from streamb.sdk import Deployment, DeploymentStatus, Prediction, ProductionMLManager
    from streamb.sdk.monitoring import EnhancedModelMonitoring
    from streamb.sdk.scaler import ModelScaler
    from streamb.sdk.tuning import HyperparameterOptimizer

_HOMES = {
    "Deployment": "streamb.sdk",
    "DeploymentStatus": "streamb.sdk",
    "EnhancedModelMonitoring": "streamb.sdk.monitoring",
    "Feature": "streamb.models",
    "FeatureKind": "streamb.models",
    "FeatureSchema": "streamb.models",
    "HyperparameterOptimizer": "streamb.sdk.tuning",
    "Model": "streamb.models",
    "ModelScaler": "streamb.sdk.scaler",
    "Prediction": "streamb.sdk",
    "ProductionMLManager": "streamb.sdk",
    "StreambError": "streamb.errors",
}

__all__ = [
    "Deployment",
    "DeploymentStatus",
    "EnhancedModelMonitoring",
    "Feature",
    "FeatureKind",
    "FeatureSchema",
    "HyperparameterOptimizer",
    "Model",
    "ModelScaler",
    "Prediction",
    "ProductionMLManager",
    "StreambError",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from streamb.version import installed_version

        return installed_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'streamb' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
