"""What other processes may ask of the control side: over the real rollouts, with a runtime in memory."""

import pytest

from streamb.control.platform import breaker_policy, build, token_key
from streamb.control.sizing import Room
from streamb.control.verbs import Control
from streamb.errors import DoesNotFit, Forbidden, InvalidInput, NotFound
from streamb.rollouts.controller import Rollouts
from streamb.security.directory import Directory
from streamb.security.keys import KeyRing
from streamb.traffic import BreakerPolicy
from tests.api.fakes import InProcess, InstantRuntime

STEERING = ("approve", "pause", "resume", "promote", "abort", "rollback")


class Woken(InProcess):
    """Counts how often the loop is woken, and moves on only when the test says so."""

    woken = 0

    def _progress(self) -> None:
        self.woken += 1

    def deploy(self, version: str, strategy: str = "canary", *, force: bool = False, **options):
        return self.verbs.create_deployment("m", version, strategy, options, "author", force=force)


def platform(tmp_path, **settings) -> Woken:
    from streamb.registry import Artifact

    made = Woken(tmp_path, **settings)
    made.platform.registry.create_model("m")
    for version in ("1.0.0", "2.0.0"):
        content = tmp_path / version
        content.write_text(version)
        blob = made.blobs.put_file(content)
        artifact = Artifact(version * 8, blob.digest, blob.size, "scikit-learn", "other", {}, carries_code=False)
        made.platform.registry.register_version("m", version, artifact)
    made.deploy("1.0.0", "immediate", force=True)
    made._tick_until_calm()
    return made


@pytest.mark.parametrize("verb", STEERING)
def test_every_verb_can_be_called_from_elsewhere_and_wakes_the_loop(tmp_path, verb):
    made = platform(tmp_path)
    deployment = made.deploy("2.0.0", approval_required=True, step_seconds=0)
    made._tick_until_calm()
    if verb == "resume":
        made.rollouts.abort(deployment.id, by="ada")
        deployment = made.deploy("2.0.0")
        made.rollouts.pause(deployment.id, by="ada")
    if verb == "pause":
        made.rollouts.approve(deployment.id, by="ada")
        made._tick_until_calm()
    before = made.woken
    name = getattr(Rollouts, verb).__qualname__
    assert made.verbs.verbs.run(name, (deployment.id, "ada"), {"reason": "because"}).id == deployment.id
    assert made.woken == before + 1
    history = made.rollouts.history(1, None, "m").items
    assert (history[0].actor, history[0].detail[-7:]) == ("ada", "because")


@pytest.mark.parametrize(
    "method",
    [Rollouts.tick, Rollouts.set_policy, KeyRing.adopt, KeyRing.used, KeyRing.allowed, Directory.ensure, Control.news],
)
def test_what_is_not_marked_as_a_verb_cannot_be_called_from_elsewhere(tmp_path, method):
    made = platform(tmp_path)
    assert method.__qualname__ not in made.verbs.verbs
    with pytest.raises(NotFound, match="marked as a verb"):
        made.verbs.verbs.run(method.__qualname__, (), {})


def test_an_order_wakes_the_loop_even_when_there_is_nothing_left_to_do(tmp_path):
    made = platform(tmp_path)
    deployment = made.deploy("2.0.0")
    made.rollouts.abort(deployment.id, by="ada")
    before = made.woken
    made.rollouts.abort(deployment.id, by="ada")
    assert made.woken == before + 1


def test_only_immediate_needs_force_outside_development(tmp_path):
    made = platform(tmp_path, environment="staging")
    with pytest.raises(Forbidden, match="canary"):
        made.deploy("2.0.0", "immediate")
    assert made.deploy("2.0.0", "canary").strategy == "canary"


def test_wrong_orders_are_refused(tmp_path):
    made = platform(tmp_path)
    with pytest.raises(InvalidInput, match="magic"):
        made.deploy("2.0.0", "magic")
    with pytest.raises(InvalidInput, match="speed"):
        made.deploy("2.0.0", speed=5)


def test_what_was_done_lately_is_told_as_a_possible_cause(tmp_path):
    made = platform(tmp_path)
    made.clock.advance(3600)
    assert made.verbs.news().happenings == {}
    deployment = made.deploy("2.0.0", traffic_split_percentage=10, step_seconds=0)
    made._tick_until_calm()
    newest = made.verbs.news().happenings["m"][0]
    assert newest.at == made.clock.now()
    assert newest.words.startswith(f"deployment {deployment.id}: step (")


def test_the_status_of_a_model_says_who_gets_how_much(tmp_path):
    made = platform(tmp_path)
    made.deploy("2.0.0", traffic_split_percentage=10, step_seconds=0)
    made._tick_until_calm()
    versions = made.verbs.model_status("m")["versions"]
    assert {one["version"]: one["weight"] for one in versions} == {"1.0.0": 90.0, "2.0.0": 10.0}


def test_what_gateways_enforce_follows_from_the_settings(tmp_path):
    made = platform(tmp_path, circuit_breaker_failure_threshold=7)
    assert breaker_policy(made.settings) == BreakerPolicy(7, 30.0, 10)
    off = made.settings.model_copy(update={"circuit_breaker_enabled": False})
    assert breaker_policy(off) is None


def test_the_key_of_request_ids_is_made_once(tmp_path):
    made = platform(tmp_path)
    records = made.platform.database.records
    assert len(token_key(records)) == 32
    assert token_key(records) == token_key(records)
    built = build(made.settings, InstantRuntime())
    try:
        assert built.rollouts.table.policy.token_key
        assert built.rollouts.table.policy.breaker == BreakerPolicy()
    finally:
        built.close()


class TestRoom:
    """What does not fit is refused with numbers; what is not known refuses nothing."""

    def roomy(self, tmp_path, **room) -> Woken:
        made = platform(tmp_path, environment="staging")
        made.verbs._room = lambda: Room("the cluster of 1 node(s)", **room)
        return made

    def test_a_deployment_that_does_not_fit_is_refused_with_the_numbers(self, tmp_path):
        made = self.roomy(tmp_path, memory_mb=2_000.0)
        with pytest.raises(
            DoesNotFit, match=r"m 2\.0\.0 cannot be deployed: .*memory: 2\.3 GB are needed and 2\.0"
        ) as why:
            made.deploy("2.0.0")
        assert (why.value.status, why.value.code) == (409, "does_not_fit")
        assert why.value.details["replicas"] == 4, "those that run, and those that would"
        assert why.value.details["room"]["memory_mb"] == 2_000.0
        assert made.deploy("2.0.0", force=True).target_version == "2.0.0"

    @pytest.mark.parametrize("room", [{}, {"memory_mb": 3_000.0, "cpus": 4.0}])
    def test_what_fits_or_is_not_known_is_deployed(self, tmp_path, room):
        assert self.roomy(tmp_path, **room).deploy("2.0.0").target_version == "2.0.0"

    def test_a_version_that_runs_already_needs_nothing_more(self, tmp_path):
        made = self.roomy(tmp_path, cpus=0.2)
        with pytest.raises(DoesNotFit, match=r"CPUs: 0.4 are reserved and 0.2 are there"):
            made.deploy("2.0.0")
        assert made.deploy("1.0.0").target_version == "1.0.0"

    def test_what_the_deployment_reserves_counts_also_beside_what_runs_of_the_same_version(self, tmp_path):
        made = self.roomy(tmp_path, gpus=1.0, cpus=4.0)
        with pytest.raises(DoesNotFit, match=r"GPUs: 4 are reserved and 1 are there") as why:
            made.deploy("2.0.0", resources={"gpus": 2.0})
        assert (why.value.details["gpus"], why.value.details["room"]["gpus"]) == (4.0, 1.0)
        with pytest.raises(DoesNotFit, match=r"CPUs: 4.2 are reserved and 4 are there"):
            made.deploy("1.0.0", "rolling", resources={"cpus": 2.0})
        assert made.deploy("1.0.0", "rolling", resources={"cpus": 1.9}).target_version == "1.0.0"


def test_a_time_limit_beyond_that_of_any_request_is_refused(tmp_path):
    made = platform(tmp_path, request_timeout_s=20.0)
    with pytest.raises(InvalidInput, match=r"no request may take longer than ML_REQUEST_TIMEOUT_S \(20 s\)"):
        made.deploy("2.0.0", timeout_s=20.5)
    assert made.deploy("2.0.0", timeout_s=20.0).run.timeout_s == 20.0
