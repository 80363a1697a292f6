"""Aliases in the routing table: published when one is set, moved or deleted, without asking the database each tick."""

import pytest

from streamb.clock import SystemClock
from streamb.errors import InvalidInput, NotFound, StorageFailed
from streamb.registry import Artifact
from streamb.registry.model import MOST_ALIASES
from streamb.serving import GatewayApp, GatewayLimits
from tests.rollouts.fakes import House
from tests.serving.asgi_client import AsgiClient
from tests.serving.gateways import ONE_ROW
from tests.serving.predictors import VersionsPredictor


@pytest.fixture
def house(house: House) -> House:
    house.serve("1.0.0")
    return house


def test_a_change_of_an_alias_is_published_once(house):
    epoch = house.rollouts.table.epoch
    house.registry.set_alias("m", "champion", "1.0.0")
    assert house.rollouts.tick()
    assert house.route().aliases == {"champion": "1.0.0", "latest": "3.0.0"}
    assert house.rollouts.table.epoch == epoch + 1
    house.registry.set_alias("m", "champion", "1.0.0")
    house.settle(3)
    assert house.rollouts.table.epoch == epoch + 1, "nothing has changed"
    house.registry.set_alias("m", "champion", "2.0.0")
    house.settle(1)
    assert house.route().aliases["champion"] == "2.0.0"
    house.registry.delete_alias("m", "champion")
    house.settle(1)
    assert (house.route().aliases, house.rollouts.table.epoch) == ({"latest": "3.0.0"}, epoch + 3)


def test_latest_follows_what_is_registered_and_deleted(house):
    artifact = Artifact("d" * 8, "blob-9", 1, "scikit-learn", "other", {}, carries_code=False)
    house.registry.register_version("m", "9.0.0", artifact)
    house.settle(1)
    assert house.route().aliases == {"latest": "9.0.0"}
    house.rollouts.delete_version("m", "9.0.0", "ada")
    house.settle(1)
    assert house.route().aliases == {"latest": "3.0.0"}


def test_a_restart_and_a_later_deployment_know_the_aliases(house):
    house.registry.set_alias("m", "champion", "2.0.0")
    house.restart()  # before any tick has published it
    assert house.route().aliases["champion"] == "2.0.0"
    made = house.create("2.0.0")
    house.until(made.id, "completed")
    assert house.route().aliases["champion"] == "2.0.0"


def test_one_that_could_not_be_stored_is_published_by_a_later_tick(house, monkeypatch):
    house.registry.set_alias("m", "champion", "1.0.0")
    with monkeypatch.context() as patch:
        patch.setattr(house.registry, "get_model", lambda model_id: (_ for _ in ()).throw(StorageFailed("away")))
        with pytest.raises(StorageFailed):
            house.rollouts.tick()
    house.settle(1)
    assert house.route().aliases["champion"] == "1.0.0"


def test_ticks_read_no_model(house, monkeypatch):
    monkeypatch.setattr(house.registry, "get_model", lambda model_id: pytest.fail("a tick asked the database"))
    house.settle(5)


def test_a_model_that_is_not_deployed_publishes_nothing(house):
    house.registry.create_model("other")
    artifact = Artifact("d" * 8, "blob-9", 1, "scikit-learn", "other", {}, carries_code=False)
    epoch = house.rollouts.table.epoch
    house.registry.register_version("other", "1.0.0", artifact)
    house.registry.set_alias("other", "champion", "1.0.0")
    house.settle(1)
    assert house.rollouts.table.epoch == epoch


def test_a_model_has_a_hundred_aliases_at_most(house):
    for number in range(MOST_ALIASES):
        house.registry.set_alias("m", f"a{number}", "1.0.0")
    with pytest.raises(InvalidInput, match="100 aliases"):
        house.registry.set_alias("m", "one-more", "1.0.0")
    house.registry.set_alias("m", "a7", "2.0.0")
    with pytest.raises(NotFound):
        house.registry.delete_alias("m", "one-more")


async def test_a_gateway_follows_the_aliases_of_the_registry(house):
    """From the registry's verb to the answer of a gateway that takes the tables, in one process."""
    app = GatewayApp(VersionsPredictor(), GatewayLimits(), SystemClock())
    client = AsgiClient(app)

    async def asked(wish: str) -> tuple[int, str]:
        house.settle(1)
        app.apply(house.rollouts.table)
        answer = await client.post(f"/v2/models/m/versions/{wish}/predict", ONE_ROW)
        return answer.status, answer.json().get("version") or answer.json()["error"]

    assert (await asked("champion"))[0] == 404
    house.registry.set_alias("m", "champion", "1.0.0")
    assert await asked("champion") == (200, "1.0.0")
    house.registry.set_alias("m", "champion", "2.0.0")
    status, why = await asked("champion")
    assert (status, "version 2.0.0, which the alias 'champion' names" in why) == (404, True)
    made = house.create("2.0.0")
    house.until(made.id, "completed")
    assert await asked("champion") == (200, "2.0.0")
    assert (await asked("latest"))[0] == 404
    house.registry.delete_alias("m", "champion")
    assert (await asked("champion"))[0] == 404
