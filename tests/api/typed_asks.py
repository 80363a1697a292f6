"""What mypy must refuse of calls to another process.

It reads this file (pyproject.toml), and an ignore that is not needed is an error: so each of these mistakes is found.
"""

from __future__ import annotations

from streamb.api.console import Console
from streamb.monitoring.alerts.manager import AlertManager
from streamb.registry import ModelVersion, RegisteredModel, Registry


async def right(console: Console) -> RegisteredModel:
    await console.ask_monitor(AlertManager.list_silences, 10)
    return await console.ask(Registry.get_model, "iris")


async def wrong_argument(console: Console) -> None:
    await console.ask(Registry.get_model, 7)  # type: ignore[arg-type]
    await console.ask_monitor(AlertManager.expire_silence, 7, "ada")  # type: ignore[arg-type]
    await console.glance(AlertManager.list_alerts, phase="loud")  # type: ignore[arg-type]


async def missing_argument(console: Console) -> None:
    await console.ask(Registry.get_model)  # type: ignore[call-arg]


async def wrong_result(console: Console) -> ModelVersion:
    return await console.ask(Registry.get_model, "iris")  # type: ignore[arg-type]
