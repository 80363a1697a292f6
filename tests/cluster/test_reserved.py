"""What Ray reserves for the replicas of a version, as its deployment says. No Ray runs here."""

import pytest

from streamb.cluster.model_version import model_application
from streamb.config import load_settings
from streamb.crypto import SigningKey
from streamb.rollouts.runtime import AppSpec, Resources


@pytest.mark.parametrize(
    ("resources", "reserved"),
    [
        (Resources(), {"num_cpus": 0.25}),
        (Resources(2.0, 500, 0.5), {"num_cpus": 2.0, "memory": 500_000_000, "num_gpus": 0.5}),
        (Resources(memory_mb=1), {"num_cpus": 0.25, "memory": 1_000_000}),
    ],
)
def test_replicas_reserve_what_the_deployment_says(tmp_path, resources, reserved):
    settings = load_settings(state_dir=tmp_path, replica_cpus=0.25)
    spec = AppSpec("m--1.0.0--x", "m", "1.0.0", "blob", resources=resources)
    app = model_application(settings, spec, SigningKey.generate().public)
    options = app._bound_deployment.ray_actor_options
    assert {name: options.get(name) for name in reserved} == reserved
    assert {name for name in ("memory", "num_gpus") if options.get(name)} == reserved.keys() - {"num_cpus"}
