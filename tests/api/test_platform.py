"""Status, health, metrics and the pages for people."""

from __future__ import annotations

import asyncio
import re

from prometheus_client.parser import text_string_to_metric_families

from tests.api.test_deployments import ORDER, register


async def test_status(client, archive):
    await register(client, archive)
    await client.post("/api/deployments", json=ORDER)
    await asyncio.sleep(0)
    status = (await client.get("/api/status")).json()
    assert status["environment"] == "development"
    assert status["url"] == "http://127.0.0.1:8000"
    assert [model["model_id"] for model in status["models"]] == ["churn"]
    assert len(status["gateways"]) == 1


async def test_health_names_what_is_missing(client, backend):
    assert (await client.get("/api/monitoring/system-health")).json()["status"] == "healthy"
    backend.clock.advance(60)
    answer = await client.get("/api/monitoring/system-health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "unhealthy"
    assert any("gateway" in reason for reason in answer.json()["reasons"])


async def test_metrics_are_prometheus_text(client):
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["streamb_gateways"].samples[0].value == 1
    assert "streamb_build_info" in families


class TestPages:
    async def test_the_status_page_shows_what_runs(self, client, archive):
        await register(client, archive)
        await client.post("/api/deployments", json=ORDER)
        await asyncio.sleep(0)
        page = await client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for text in ("churn", "1.0.0", "running", "healthy", "/api/docs"):
            assert text in page.text

    async def test_an_empty_platform_says_what_to_do(self, client):
        assert "streamb models register" in (await client.get("/")).text

    async def test_what_models_say_cannot_become_markup(self, client, backend, archive):
        await register(client, archive)
        backend.runtime.failing = "<script>alert(1)</script>"
        await client.post("/api/deployments", json=ORDER)
        await asyncio.sleep(0)
        page = (await client.get("/")).text
        assert "<script>" not in page

    async def test_nothing_is_loaded_from_elsewhere(self, client):
        for path in ("/", "/api/docs"):
            page = await client.get(path)
            assert page.status_code == 200
            assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page.text)
            assert "<script" not in page.text
            assert page.headers["content-security-policy"].startswith("default-src 'none'")

    async def test_the_page_is_there_when_the_controller_is_not(self, client, backend):
        from streamb.errors import Unavailable

        backend.failure = Unavailable("the Controller is restarting")
        page = await client.get("/")
        assert page.status_code == 503
        assert "restarting" in page.text

    async def test_the_api_page_lists_every_operation(self, client):
        page = (await client.get("/api/docs")).text
        for document in ("/api/openapi.json", "/api/openapi-v2.json"):
            assert document in page
            for path, operations in (await client.get(document)).json()["paths"].items():
                for method in operations:
                    assert f"{method.upper()} {path}" in page
