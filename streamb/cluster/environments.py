"""Environments of single versions: what is installed for their replicas and their trial, by Ray's `runtime_env`.

Ray copies the virtual environment that it runs in (outside of one, it makes one that sees the machine's packages) and
installs the requirements into the copy: once on each machine for each list of requirements. Copies that nothing uses
any more are deleted when all of them together are larger than 10 GB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from streamb.errors import EnvironmentFailed, StreambError

R = TypeVar("R")

_LONGEST_REASON: Final = 500
_COMPLAINTS: Final = ("ERROR:", "error:", "\N{MULTIPLICATION SIGN}")
_TIMED_OUT: Final = "within the timeout"


def runtime_env(environment: Mapping[str, Sequence[str]], timeout_s: float) -> dict[str, Any]:
    """Return Ray's `runtime_env` for a version; empty if it has no environment of its own.

    Args:
        environment: requirements by tool, as `VersionEnvironment.requirements` has them.
        timeout_s: how long the installation may take, in seconds.
    """
    if not environment:
        return {}
    tools = {tool: list(requirements) for tool, requirements in environment.items()}
    return {**tools, "config": {"setup_timeout_seconds": math.ceil(timeout_s)}}


def run_in_environment(
    environment: Mapping[str, Sequence[str]],
    work: Callable[..., R],
    *arguments: Any,
    install_timeout_s: float,
    timeout_s: float,
) -> R:
    """Call `work` in a process of its own that has the environment, on this machine, and return what it returns.

    Args:
        environment: requirements by tool.
        work: a function that other processes can import.
        arguments: passed to it; picklable.
        install_timeout_s: how long the installation may take, in seconds.
        timeout_s: how long the call itself may take, in seconds.

    Raises:
        EnvironmentFailed: the environment could not be installed in time, or the process ended early.
        StreambError: what `work` raised.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(max_calls=1)(_outcome).options(
        num_cpus=0,
        max_retries=0,
        scheduling_strategy=here,
        runtime_env=runtime_env(environment, install_timeout_s),
    )
    reference = remote.remote(work, arguments)
    try:
        outcome = ray.get(reference, timeout=install_timeout_s + timeout_s)
    except RuntimeEnvSetupError as error:
        raise EnvironmentFailed(
            f"the environment of this version cannot be installed: {why_not_installed(str(error))}"
        ) from None
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        raise EnvironmentFailed(
            f"the environment of this version was not installed, and the work in it not done, within "
            f"{install_timeout_s:g} s and {timeout_s:g} s (ML_ENVIRONMENT_TIMEOUT_S)"
        ) from None
    except RayError as error:
        raise EnvironmentFailed(
            f"the process with the environment of this version ended early: {_shortened(str(error))}"
        ) from error
    if isinstance(outcome, StreambError):
        raise outcome
    result: R = outcome
    return result


def why_not_installed(message: str) -> str:
    """Return what pip or uv complained about, from the message of Ray's RuntimeEnvSetupError: the end of its output."""
    if _TIMED_OUT in message:
        return "it took too long; raise ML_ENVIRONMENT_TIMEOUT_S, or require less"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    starts = [index for index, line in enumerate(lines) if line.startswith(_COMPLAINTS)]
    return _shortened(" ".join(lines[starts[-1] :] if starts else lines[-1:]))


def _outcome(work: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    try:
        return work(*arguments)
    except StreambError as error:  # as a value: Ray would wrap it in a class of its own
        return error


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
