"""The platform from Python: the manager, deployments and predictions, over one HTTP client."""

from streamb.sdk.deployment import Deployment, DeploymentStatus
from streamb.sdk.manager import ProductionMLManager
from streamb.sdk.prediction import Prediction

__all__ = ["Deployment", "DeploymentStatus", "Prediction", "ProductionMLManager"]
