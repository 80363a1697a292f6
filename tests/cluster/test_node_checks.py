"""A cluster of two nodes: each is asked before anything is started, and the gateways are spread over both."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

import pytest

from streamb.cluster.gateway import gateway_application
from streamb.cluster.node_checks import refuse_nodes
from streamb.config import load_settings
from streamb.errors import StartFailed


@pytest.mark.parametrize(
    ("gateways", "nodes", "most"), [(1, 1, None), (2, 1, None), (2, 2, 1), (2, 5, 1), (3, 2, 2), (7, 3, 3)]
)
def test_no_node_gets_more_than_its_share_of_the_gateways(tmp_path, gateways, nodes, most):
    settings = load_settings(state_dir=tmp_path, gateway_replicas=gateways)
    application = gateway_application(settings, nodes=nodes)
    deployment = application._bound_deployment
    assert deployment._replica_config.max_replicas_per_node == most


def test_nodes_with_problems_are_named():
    refuse_nodes([])
    with pytest.raises(
        StartFailed, match=r"every node of the cluster: node a: x; node b: y; see docs/cluster.md"
    ) as why:
        refuse_nodes(["node a: x", "node b: y"])
    assert why.value.details["nodes"] == ["node a: x", "node b: y"]


_PROGRAM = """
import json, os, sys, time
from pathlib import Path
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1"}
os.environ["RAY_TMPDIR"] = sys.argv[2]
from streamb.cluster.session import QUIET, prepare_ray
prepare_ray()
import ray
from ray.cluster_utils import Cluster

def problem_elsewhere(settings, sealed):
    if ray.get_runtime_context().get_node_id() == os.environ["FIRST_NODE"]:
        return []
    time.sleep(float(os.environ["ASLEEP_S"]))
    return ["the artifact store s3://b cannot be used: no credentials"]

def main():
    from streamb.cluster import node_checks
    from streamb.cluster.gateway import gateway_application
    from streamb.cluster.names import GATEWAY_APP
    from streamb.config import load_settings

    settings = load_settings(state_dir=Path(sys.argv[1]), gateway_replicas=2)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    said = {}
    try:
        ray.init(cluster.address, namespace="streamb", log_to_driver=False)
        said["one node"] = node_checks.check_nodes(settings)
        first = ray.nodes()[0]["NodeID"]
        cluster.add_node(num_cpus=4)
        cluster.wait_for_nodes()
        said["well"] = node_checks.check_nodes(settings)
        for name, asleep in (("problem", 0), ("late", 600)):
            around = {"env_vars": {"FIRST_NODE": first, "ASLEEP_S": str(asleep)}}
            real = ray.remote
            ray.remote = lambda _: Task(real(problem_elsewhere), around)
            said[name] = node_checks.check_nodes(settings, 60 if name == "problem" else 15)
            ray.remote = real
        from ray import serve
        serve.start(proxy_location="Disabled", logging_config=QUIET)
        serve.run(gateway_application(settings, nodes=2), name=GATEWAY_APP, route_prefix=None)
        handle = serve.get_app_handle(GATEWAY_APP)
        asked = [handle.connect.remote("none") for _ in range(30)]
        said["nodes of gateways"] = len({one.result().node for one in asked})
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps(said))

class Task:
    def __init__(self, task, around):
        self.task, self.around = task, around
    def options(self, **options):
        return self.task.options(runtime_env=self.around, **options)

main()
"""


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(400)
def test_every_node_is_asked_within_a_time_and_the_gateways_are_on_two(tmp_path):
    with tempfile.TemporaryDirectory(prefix="sb-", ignore_cleanup_errors=True) as folder:  # short: it holds sockets
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(tmp_path / "state"), folder],
            capture_output=True,
            text=True,
            timeout=380,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["one node"] == [], "nobody is asked"
    assert said["well"] == []
    (problem,) = said["problem"]
    assert problem.startswith("node ")
    assert problem.endswith(": the artifact store s3://b cannot be used: no credentials")
    (late,) = said["late"]
    assert late.endswith("did not answer within 15 s")
    assert said["nodes of gateways"] == 2
