"""The sample model, trained in a moment on Fisher's iris data, which comes with scikit-learn."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Final

from streamb.errors import StartFailed
from streamb.sdk.manager import ProductionMLManager

SAMPLE_ID: Final = "iris"
SAMPLE_VERSION: Final = "1.0.0"
SAMPLE_ROW: Final = {
    "sepal length (cm)": 6.3,
    "sepal width (cm)": 3.3,
    "petal length (cm)": 6.0,
    "petal width (cm)": 2.5,
}
"""A flower that is clearly an Iris virginica."""

_DEPLOY_S: Final = 120.0


def train_sample() -> tuple[Any, dict[str, Any]]:
    """Return a fitted pipeline that classifies three species of iris, and its metadata."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    irises = load_iris(as_frame=True)
    species = irises.target.map(dict(enumerate(irises.target_names))).astype(str).to_numpy()
    parts = train_test_split(irises.data, species, test_size=0.3, random_state=0, stratify=species)
    frame, held_out, labels, truth = parts
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(frame, labels)
    accuracy = round(float(model.score(held_out, truth)), 4)
    return model, {"metrics": {"accuracy": accuracy}, "hyperparameters": {"C": 1.0, "max_iter": 500}}


def deploy_sample(manager: ProductionMLManager) -> None:
    """Register and deploy the sample model.

    Raises:
        StartFailed: the deployment did not complete.
    """
    from sklearn.datasets import load_iris

    model, metadata = train_sample()
    manager.register_model(
        SAMPLE_ID,
        "Iris species",
        "Classifies three species of iris by the measurements of their flowers (Fisher, 1936)",
        model,
        SAMPLE_VERSION,
        metadata,
        "streamb sample",
        example=load_iris(as_frame=True).data.iloc[::3],
    )
    deployment = manager.deploy_model(
        model_id=SAMPLE_ID, target_version=SAMPLE_VERSION, rollout_strategy="immediate", force=True
    )
    status = deployment.wait(timeout=_DEPLOY_S)
    if status.state != "completed":
        raise StartFailed(f"the sample model was not deployed: {status.reason}")


def curl_line(url: str, api_key: str | Path | None) -> str:
    """Return a shell command that asks the sample model about one flower.

    Args:
        url: the address of the platform.
        api_key: the key to send, or the path of the file from which the shell reads it; None sends no key.
    """
    key = f" -H 'Authorization: Bearer {api_key}'" if api_key else ""
    if isinstance(api_key, Path):
        key = f' -H "Authorization: Bearer $(cat {shlex.quote(str(api_key))})"'
    insecure = " -k" if url.startswith("https://127.0.0.1") else ""
    body = json.dumps({"instances": [SAMPLE_ROW]})
    return f"curl -s{insecure} {url}/v2/models/{SAMPLE_ID}/predict{key} -H 'Content-Type: application/json' -d '{body}'"
