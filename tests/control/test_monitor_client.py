"""The Monitor's verbs from another process: by name, and only those that may be asked."""

from __future__ import annotations

import pytest

from streamb.control.monitor_client import VERBS, MonitorClient, no_monitor
from streamb.errors import Unavailable


async def test_every_verb_is_carried_over_by_name():
    asked = []

    async def transport(verb, arguments):
        asked.append((verb, dict(arguments)))
        return verb

    client = MonitorClient(transport)
    assert await client.health(model_id="m", version=None) == "health"
    assert asked == [("health", {"model_id": "m", "version": None})]
    assert {"drift", "overview", "set_baseline", "silence", "exposition", "test_channel"} <= VERBS


@pytest.mark.parametrize("verb", ["receive", "tick", "start", "close", "_activate", "nonsense"])
def test_what_is_no_question_is_refused(verb):
    with pytest.raises(AttributeError, match="verb of the Monitor"):
        getattr(MonitorClient(no_monitor), verb)


async def test_without_a_monitor_every_verb_says_so():
    with pytest.raises(Unavailable, match="ML_MONITORING_ENABLED"):
        await MonitorClient(no_monitor).overview()
