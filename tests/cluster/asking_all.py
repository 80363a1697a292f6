"""Asks every actor of a platform for everything, as any Ray client can: `asking_all ADDRESS FILE`."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

import streamb
from streamb.cluster.console import Console
from streamb.cluster.controller import ControllerActor
from streamb.cluster.edge.edge import EdgeActor
from streamb.cluster.gateway import Gateway
from streamb.cluster.jobs.jobs import JobActor
from streamb.cluster.model_version import ModelVersion
from streamb.cluster.monitor import MonitorActor
from streamb.cluster.names import CONSOLE, CONSOLE_APP, CONTROLLER, GATEWAY, GATEWAY_APP, MODEL_VERSION, NAMESPACE
from streamb.cluster.node_collector import NodeCollectorActor
from streamb.cluster.ray_start import listens_here_only, use_loopback
from streamb.control.observations import NodeReport
from streamb.monitoring.collection.push import Member, Push
from streamb.serving.batch import Batch
from streamb.traffic import RoutingTable

_WAIT_S = 30
_STRANGER = NodeReport("gateway", "stranger", "nowhere", 1)
_PUSH = Push((Member("stranger", "1", 1),))
_ROWS = Batch(np.array([[6.3, 3.3, 6.0, 2.5]]), (1,))

CALLS: dict[type, dict[str, tuple[Any, ...] | None]] = {
    ControllerActor: {
        "invoke": None,  # every verb: see `verbs`
        "heartbeat": (_STRANGER,),
        "endpoints": (_STRANGER,),
        "monitor_report": ([],),
        "goodbye": (_STRANGER,),
        "scaling_hints": ("iris",),
        "belongs_to": ("",),
        "missing": (),
        "unserved": (),
        "stop": None,  # ends the platform
    },
    MonitorActor: {"invoke": None, "push": (_PUSH,), "stop": None},
    EdgeActor: {"start": (), "up": (), "stop": None},
    JobActor: {"stop": (), "outcome": ()},
    NodeCollectorActor: {"push": (_PUSH,)},
    Gateway: {"apply": (RoutingTable(),), "connect": ("nothing",), "check_health": ()},
    Console: {"check_health": ()},
    ModelVersion: {"link": (), "infer": (_ROWS,), "check_health": (), "record_autoscaling_stats": ()},
}
"""The methods of every actor class with arguments to call them with; None: not called by itself."""

_VALUES = {"model_id": "iris", "version": "1.0.0", "limit": 100, "cursor": None, "strategy": "immediate"}
_BY_TYPE = {"str": "iris", "int": 10, "float": 10.0, "bool": False}


def verbs() -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every method that is marked as a verb, anywhere in streamb, with arguments that make sense to most of them."""
    found = {}
    for module in pkgutil.walk_packages(streamb.__path__, "streamb."):
        if module.name.startswith(("streamb.__main__", "streamb.store.migrations")):
            continue  # programs of their own
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            for member in vars(cls).values():
                if getattr(member, "_streamb_verb", False):
                    found[member.__qualname__] = _arguments(member)
    return found


def _arguments(method: Callable[..., Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    positional, named = [], {}
    for name, one in list(inspect.signature(method).parameters.items())[1:]:
        value = _VALUES.get(name, {} if "Mapping" in str(one.annotation) else _BY_TYPE.get(str(one.annotation)))
        if one.kind is one.KEYWORD_ONLY:
            named[name] = value
        elif one.kind is one.POSITIONAL_OR_KEYWORD:
            positional.append(value)
    return tuple(positional), named


def ask_all() -> Iterator[tuple[str, bool, bytes]]:
    """Call everything; yield what was called, whether it answered, and the answer or the error in bytes."""
    import ray
    from ray import serve

    def told(name: str, ask: Callable[[], Any]) -> tuple[str, bool, bytes]:
        try:
            answer = ask()
        except Exception as error:  # an error could tell a secret as well
            return name, False, f"{error!r} {error}".encode()
        return name, True, repr(answer).encode() + cloudpickle.dumps(answer)

    versions = [app for app in serve.status().applications if app.startswith("iris--")]
    served = [(Gateway, GATEWAY, GATEWAY_APP), (Console, CONSOLE, CONSOLE_APP)]
    served += [(ModelVersion, MODEL_VERSION, app) for app in versions]
    controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", "serve")
    for cls, deployment, app in served:
        handle = serve.get_deployment_handle(deployment, app)
        for name, arguments in CALLS[cls].items():
            call = lambda h=handle, n=name, a=arguments: getattr(h, n).remote(*a).result(timeout_s=_WAIT_S)  # noqa: E731
            yield told(f"{cls.__name__}.{name}", call)
        info = lambda d=deployment, a=app: ray.get(controller.get_deployment_info.remote(d, a), timeout=_WAIT_S)  # noqa: E731
        yield told(f"Serve about {cls.__name__}", info)
    # The actors come last: their verbs can undeploy the model.
    actors = [
        ray.get_actor(one["name"], NAMESPACE)
        for one in ray.util.list_named_actors(all_namespaces=True)
        if one["namespace"] == NAMESPACE
    ]
    by_class = {cls.__name__: cls for cls in CALLS}
    for actor in actors:
        cls = by_class[actor._ray_actor_creation_function_descriptor.class_name.split(".")[-1]]
        for name, arguments in CALLS[cls].items():
            if arguments is not None:
                method = getattr(actor, name)
                yield told(
                    f"{cls.__name__}.{name}", lambda m=method, a=arguments: ray.get(m.remote(*a), timeout=_WAIT_S)
                )
        if cls in (ControllerActor, MonitorActor):
            for verb, (positional, named) in verbs().items():
                call = lambda v=verb, p=positional, n=named, a=actor: ray.get(a.invoke.remote(v, p, n), timeout=_WAIT_S)  # noqa: E731
                yield told(f"{cls.__name__}: {verb}", call)
    assert CONTROLLER in [one["name"] for one in ray.util.list_named_actors(all_namespaces=True)]


def main(address: str, file: str) -> None:
    """Ask the platform whose Ray is at `address`, and write the answers to `file`."""
    import ray

    use_loopback(here=listens_here_only(address))
    ray.init(address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    Path(file).write_bytes(pickle.dumps(list(ask_all())))


if __name__ == "__main__":
    main(*sys.argv[1:])
