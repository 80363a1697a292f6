"""The data plane: the gateway that answers requests, and the replica's side of a batch. No Ray, no web framework."""

from streamb.serving.batch import Batch, BatchReply, Predictor
from streamb.serving.gateway import GatewayApp
from streamb.serving.limits import GatewayLimits
from streamb.serving.replica import BatchPredictor

__all__ = ["Batch", "BatchPredictor", "BatchReply", "GatewayApp", "GatewayLimits", "Predictor"]
