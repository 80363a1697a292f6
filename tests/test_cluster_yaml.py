"""The cluster files: accepted by Ray's own validator, in step with the code and the pins. Nothing is started."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from streamb.cluster.ray_token import MODE, ON
from streamb.cluster.session import RAY_VARIABLES
from streamb.config import Settings, variable_of

ROOT = Path(__file__).parent.parent
LAUNCHER_FILES = ("cluster.yaml", "docs/cluster-onprem.yaml")
PINNED_RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def exported(command: str) -> dict[str, str]:
    """The variables that a command exports."""
    exports = [part for part in command.split(";") if part.strip().startswith("export ")]
    return dict(word.split("=", 1) for part in exports for word in shlex.split(part)[1:])


@pytest.mark.parametrize("name", LAUNCHER_FILES)
class TestLauncherFiles:
    def test_ray_accepts_it(self, name: str):
        validate_config(prepare_config(read(name)))

    def test_ray_would_have_seen_a_mistake(self, name: str):
        config = prepare_config(read(name))
        config["head_start_commands"] = config.pop("head_start_ray_commands")
        with pytest.raises(Exception, match="head_start_commands"):
            validate_config(config)

    @pytest.mark.parametrize("role", ["head", "worker"])
    def test_every_node_starts_ray_with_our_variables(self, name: str, role: str):
        commands = read(name)[f"{role}_start_ray_commands"]
        (start,) = [command for command in commands if "ray start" in command]
        found = exported(start)
        found.pop("PATH", None)
        assert found == {**RAY_VARIABLES, MODE: ON}

    def test_every_node_has_the_token(self, name: str):
        mounts = read(name)["file_mounts"]
        (place,) = [place for place, source in mounts.items() if source == "~/.ray/auth_token"]
        user = "ray" if "docker" in read(name) else read(name)["auth"]["ssh_user"]
        assert place == f"/home/{user}/.ray/auth_token", "where Ray looks for it"

    def test_it_installs_our_pins(self, name: str):
        (install,) = [command for command in read(name)["setup_commands"] if "pip install" in command]
        assert f"ray[serve,tune]=={PINNED_RAY}" in install
        assert "constraints.txt" in install

    def test_it_starts_one_head_and_workers(self, name: str):
        config = prepare_config(read(name))
        workers = [kind for kind in config["available_node_types"] if kind != config["head_node_type"]]
        assert config["max_workers"] >= 1
        assert sum(config["available_node_types"][kind].get("max_workers", 0) for kind in workers) >= 1 or (
            config["provider"]["type"] == "local"
        )


def test_the_image_has_the_pinned_ray():
    assert read("cluster.yaml")["docker"]["image"].startswith(f"rayproject/ray:{PINNED_RAY}-py3")


def test_kuberay_says_the_same():
    cluster, service = yaml.safe_load_all((ROOT / "docs/kuberay.yaml").read_text())
    assert (cluster["kind"], service["kind"]) == ("RayCluster", "Service")
    assert cluster["spec"]["rayVersion"] == PINNED_RAY
    assert cluster["spec"]["authOptions"] == {"mode": ON}
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert len(groups) == 2
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        variables = {one["name"]: one.get("value") for one in container["env"]}
        assert {name: variables[name] for name in RAY_VARIABLES} == RAY_VARIABLES
        ours = {name for name in variables if name.startswith("ML_")}
        assert ours <= {variable_of(name) for name in Settings.model_fields}
        assert PINNED_RAY in container["image"]
