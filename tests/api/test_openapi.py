"""The description of the API against the API: generated requests, right and wrong, never break it or its promises."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from streamb.api import create_app
from tests.api.fakes import InProcess

load_all_checks()
# Cursors and artifacts are right or wrong in ways that no schema can tell, so valid requests may be refused.
EXCLUDED = [positive_data_acceptance]


def app_of(backend):
    return create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    backend = InProcess(tmp_path_factory.mktemp("openapi"), allowed_hosts="testserver")  # as the client calls it
    yield backend
    backend.close()


def test_no_request_breaks_the_api_or_its_description(backend):
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app_of(backend))
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(operation.as_strategy())
        @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def attempt(case):
            tried.add(case.operation.label)
            case.call_and_validate(headers={"X-API-Key": backend.api_key}, excluded_checks=EXCLUDED)

        attempt()
    assert len(tried) >= 20


def test_every_check_of_schemathesis_is_there():
    assert "not_a_server_error" in CHECKS.get_all_names()


def test_the_description_is_complete(backend):
    document = app_of(backend).openapi()
    operations = [(path, method, one) for path, item in document["paths"].items() for method, one in item.items()]
    assert len(operations) >= 23
    for path, method, operation in operations:
        assert operation["description"], (path, method)
        assert {"401", "404", "422", "503", "504"} <= set(operation["responses"]), (path, method)
        if method != "get":
            assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]], (path, method)
    upload = document["paths"]["/api/models/{model_id}/versions"]["post"]["requestBody"]["content"]
    assert set(upload) == {"multipart/form-data"}
    baseline = document["paths"]["/api/monitoring/baseline"]["post"]["requestBody"]["content"]
    assert set(baseline) == {"application/json", "multipart/form-data"}


def test_keys_are_described_where_they_are_needed(tmp_path):
    development = app_of(InProcess(tmp_path / "development")).openapi()
    staging = app_of(InProcess(tmp_path / "staging", environment="staging")).openapi()
    assert "security" not in development
    assert staging["security"] == [{"BearerKey": []}, {"HeaderKey": []}]
    assert development["paths"]["/api/jobs"]["post"]["security"] == staging["security"]
