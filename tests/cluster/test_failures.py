"""Who is to blame for an app that does not run: Ray's and Serve's words, as version 2.60 has them."""

import pytest

from streamb.cluster.failures import Death, deaths_of, failure_of
from streamb.rollouts.runtime import Fault

GAVE_UP = (
    "Failed to update the deployments ['ModelVersion'].\nThe deployment failed to start 3 times in a row. This may be "
    "due to a problem with its constructor or initial health check failing. See controller logs for details. Error:\n"
)
SLOW = (
    "Deployment 'ModelVersion' in application 'm--1.0.0--x' has 1 replicas that have taken more than 30s to be "
    "scheduled. This may be due to waiting for the cluster to auto-scale or for a runtime environment to be installed. "
    "Resources required for each replica: {needed}, total resources available: {free}. Use `ray status` for more "
    "details."
)
RAISED = (
    'ray::ServeReplica:m--1.0.0--x:ModelVersion.initialize_and_get_metadata() (pid=7, ip=10.0.0.5)\n  File "x.py", '
    "line 1, in __init__\n{error}"
)
DIED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
END_OF_FILE = (
    f"{DIED}Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
    "process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker "
    "crashed unexpectedly due to SIGSEGV or another unexpected error."
)
LOST = Death("NODE_DIED", "The actor died because its node has died. Node Id: 1a2b3c4d", "1a2b3c4d (10.0.0.5)")
CRASHED = Death("WORKER_DIED", END_OF_FILE, "5e6f7a8b (10.0.0.6)")
EXITED = Death(
    "WORKER_DIED", f"{DIED}Worker exits unexpectedly. Worker exits with an exit code 3.", "5e6f7a8b (10.0.0.6)"
)
ENDED = Death("WORKER_DIED", f"{EXITED.words[:-3]} 1. The process receives a SIGTERM.", "5e6f7a8b (10.0.0.6)")
KILLED = Death("RAY_KILL", "The actor is dead because it was killed by `ray.kill`.", "5e6f7a8b (10.0.0.6)")
STARVED = Death("oom_context", "Task was killed due to the node running low on memory.", "5e6f7a8b (10.0.0.6)")


@pytest.mark.parametrize(
    ("message", "fault", "reason"),
    [
        (RAISED.format(error="RuntimeError: it raises in a replica"), Fault.VERSION, "it raises in a replica"),
        (RAISED.format(error="ModuleNotFoundError: No module named 'lightgbm'"), Fault.VERSION, "lightgbm"),
        (RAISED.format(error="streamb.errors.ArtifactCorrupt: digest differs"), Fault.VERSION, "digest differs"),
        ("Traceback (most recent call last):\n  my.Odd: no", Fault.VERSION, "my.Odd: no"),
        (RAISED.format(error="streamb.errors.StorageFailed: no credentials"), Fault.INFRASTRUCTURE, "no credentials"),
        (RAISED.format(error="OSError: [Errno 28] No space left on device"), Fault.INFRASTRUCTURE, "No space left"),
        (
            "Exception when allocating Replica(x): Failed to set up runtime environment.\nNo solution found",
            Fault.VERSION,
            "its environment could not be installed: No solution found",
        ),
        ("ActorUnavailableError: The actor is unavailable", Fault.INFRASTRUCTURE, "Ray failed"),
        ("RaySystemError: System error: broken", Fault.INFRASTRUCTURE, "Ray failed"),
        ("Unexpected error occurred while deploying application 'm': \nKeyError: 1", Fault.INFRASTRUCTURE, "KeyError"),
        ("it is infeasible?", Fault.INFRASTRUCTURE, "no node has room"),
        ("has 1 replicas that have taken more than 30s to initialize.", Fault.UNKNOWN, "more than 30s to initialize"),
        ("", Fault.UNKNOWN, ""),
    ],
)
def test_what_serve_says(message, fault, reason):
    failure = failure_of(GAVE_UP + message if message else "")
    assert failure.fault is fault, failure
    assert reason in failure.reason


@pytest.mark.parametrize(
    ("deaths", "fault", "reason"),
    [
        ([LOST, KILLED], Fault.INFRASTRUCTURE, "node 1a2b3c4d (10.0.0.5) was lost"),
        ([CRASHED, CRASHED, LOST], Fault.INFRASTRUCTURE, "node 1a2b3c4d (10.0.0.5) was lost"),
        ([KILLED], Fault.INFRASTRUCTURE, "ended from outside (ray.kill)"),
        ([STARVED], Fault.INFRASTRUCTURE, "ran out of memory"),
        ([ENDED], Fault.INFRASTRUCTURE, "SIGTERM"),
        ([EXITED], Fault.VERSION, "exit code 3"),
        ([LOST, CRASHED, CRASHED, CRASHED], Fault.UNKNOWN, "ended 3 times without an exit code while loading"),
        ([], Fault.UNKNOWN, "Ray says no more"),
    ],
)
@pytest.mark.parametrize("said", ["ActorDiedError()", "The actor died unexpectedly before finishing this task."])
def test_processes_that_ended_without_a_word(said, deaths, fault, reason):
    failure = failure_of(GAVE_UP + said, lambda: deaths)
    assert failure.fault is fault, failure
    assert reason in failure.reason


@pytest.mark.parametrize(
    ("needed", "free", "fault", "reason"),
    [
        ('{"CPU": 2.0}', '{"CPU": 0.5, "memory": 5.0}', Fault.INFRASTRUCTURE, "needs 2 CPU, free in all are 0.5 CPU"),
        ('{"CPU": 1, "GPU": 1}', '{"CPU": 3.0}', Fault.INFRASTRUCTURE, "needs 1 GPU, free in all are 0 GPU"),
        ('{"CPU": 0.1}', '{"CPU": 3.0}', Fault.UNKNOWN, "may be being installed"),
        ("{...}", "{}", Fault.UNKNOWN, "wait for a place"),
    ],
)
def test_replicas_that_wait_for_room(needed, free, fault, reason):
    failure = failure_of(SLOW.format(needed=needed, free=free))
    assert failure.fault is fault, failure
    assert reason in failure.reason


@pytest.mark.ray
def test_ray_tells_how_processes_ended(ray_cluster):
    """The words above are Ray's, and the private interface that they come from exists."""
    import os

    import ray

    class Ends:
        def go(self, how: str) -> None:
            import sys

            sys.exit(3) if how == "exits" else os._exit(4)

    for how in ("exits", "crashes"):
        actor = ray.remote(Ends).options(name=f"SERVE_REPLICA::{how}#M#1", num_cpus=0).remote()
        with pytest.raises(ray.exceptions.ActorDiedError) as caught:
            ray.get(actor.go.remote(how), timeout=60)
        assert repr(caught.value) == "ActorDiedError()"
    assert failure_of("ActorDiedError()", lambda: deaths_of("exits")).fault is Fault.VERSION
    assert failure_of("ActorDiedError()", lambda: deaths_of("crashes")).fault is Fault.UNKNOWN
    assert deaths_of("nothing") == []
