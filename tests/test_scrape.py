"""What the dashboard and the alert rules ask for is there: every metric and label, in a real scrape of `/metrics`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from streamb import ProductionMLManager
from streamb.control.observations import NodeReport
from tests.api.artifacts import sklearn_archive
from tests.api.monitored import MODEL, Traffic, answers, rows
from tests.sdk.live import LivePlatform

DOCS = Path(__file__).parent.parent / "docs"
DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text())
RULES = [
    rule for group in yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())["groups"] for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ASKED = {
    **{f"panel {panel['title']}": [target["expr"] for target in panel["targets"]] for panel in PANELS},
    **{f"rule {rule['alert']}": [rule["expr"]] for rule in RULES},
    "variables": [
        variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"
    ],
}


@dataclass(frozen=True)
class Series:
    """The type of a sample's family, and its labels."""

    type: str
    labels: set[str]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory) -> dict[str, Series]:
    """Every sample by its name: of a model that is deployed, asked, told the truth about, and watched."""
    folder = tmp_path_factory.mktemp("scrape")
    with LivePlatform(folder / "state").running() as live:
        backend = live.backend
        with ProductionMLManager(address=live.url, api_key=backend.api_key) as manager:
            manager.create_model(MODEL)
            manager.upload_version(MODEL, "1.0.0", sklearn_archive(folder))
            manager.deploy_model(model_id=MODEL, target_version="1.0.0", rollout_strategy="immediate").wait(60)
            features = rows(500, seed=9)
            known = {"labels": answers(features), "confidence": [0.9] * 500}
            manager.monitoring(MODEL).set_baseline(features, answers(features), **known)
            told = manager.predict(MODEL, rows(4).tolist())
            manager.record_feedback(MODEL, told.request_id, label=[1, 1, 0, None])
            gateway = NodeReport("gateway", "gateway-1", "node", 1, snapshots=tuple(live._gateway.snapshot()))
            backend.observations.receive(gateway)
            Traffic(backend).push(500, shift=2.0, labels=100)
        text = httpx.get(f"{live.url}/metrics").text
    families = text_string_to_metric_families(text)
    return {sample.name: Series(family.type, set(sample.labels)) for family in families for sample in family.samples}


@pytest.mark.parametrize("place", ASKED)
def test_every_metric_and_label_that_is_asked_for_is_there(scraped, place):
    for expression in ASKED[place]:
        asked = re.findall(r"\b(streamb_\w+)(?:\{([^}]*)\})?", expression)
        assert asked
        for name, selector in asked:
            assert name in scraped, expression
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= scraped[name].labels, expression
        for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            known = set().union(*(scraped[name].labels for name, _ in asked))
            assert set(re.split(r",\s*", grouped)) <= known, expression


@pytest.mark.parametrize("place", ASKED)
def test_rates_are_of_what_only_grows_and_the_rest_are_gauges(scraped, place):
    if place == "variables":
        return  # of these only the labels are asked for
    for expression in ASKED[place]:
        growing = set(re.findall(r"\brate\((\w+)", expression))
        for name in set(re.findall(r"\bstreamb_\w+", expression)):
            allowed = {"counter", "histogram", "summary"} if name in growing else {"gauge"}
            assert scraped[name].type in allowed, expression
        if "histogram_quantile" in expression:
            assert {scraped[name].type for name in growing} == {"histogram"}
            assert all(name.endswith("_bucket") for name in growing)


def test_rules_and_panels_say_what_they_are_for(scraped):
    assert len(RULES) >= 10
    assert len(PANELS) >= 15
    for rule in RULES:
        assert rule["labels"]["severity"] in {"low", "medium", "high", "critical"}, rule
        assert rule["annotations"]["summary"], rule
    assert all(panel["description"] for panel in PANELS)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_the_dashboard_shows_every_number_of_the_monitor(scraped):
    shown = " ".join(expression for expressions in ASKED.values() for expression in expressions)
    own = {
        name
        for name in scraped
        if re.match(r"streamb_(monitor|drift|feature_drift|concept|alerts|notifications)", name)
    }
    assert own
    assert {name for name in own if name not in shown} == set()
