import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.errors import InvalidInput, NotFound, Unavailable
from streamb.serving.breaker import BreakerState
from streamb.serving.targets import QUIET_S, VERSION_HEADER, TableBuilder
from streamb.traffic import BreakerPolicy, GatewayPolicy, Override, Shadow, Split
from tests.serving.predictors import table, target

POLICY = GatewayPolicy(breaker=BreakerPolicy())
OLD, NEW = target("1.0.0"), target("2.0.0")
BOTH = (OLD, NEW)


def share(new: int) -> Split:
    return Split.by_shares([("2.0.0", new), ("1.0.0", 10_000 - new)])


def built(*targets, builder=None, **options):
    return (builder or TableBuilder()).build(table(*(targets or BOTH), **options)).model("m")


def chosen(model, user="", own_id="", *, path="", header=None) -> str:
    headers = {} if header is None else {VERSION_HEADER: header.encode()}
    return model.choose(path, headers, user, own_id).target.version


def trip(version) -> None:
    for _ in range(3):
        version.breaker.failed(version.breaker.enter(0), 0)
    assert version.breaker.state is BreakerState.OPEN


# --- which version ------------------------------------------------------------------------------------------------

FRIENDS = Override("2.0.0", users=frozenset({"ada", "bob"}))
CAREFUL = Override("1.0.0", users=frozenset({"bob"}))
ALIASES = {"champion": "1.0.0", "challenger": "2.0.0", "latest": "2.0.0", "old": "0.9.0"}


def test_a_named_version_wins_over_a_user_and_both_over_the_split():
    model = built(split=share(0), overrides=(FRIENDS, CAREFUL), aliases=ALIASES)
    assert chosen(model, "carl") == "1.0.0"
    assert chosen(model, "ada") == "2.0.0"
    assert chosen(model, "ada", header="1.0.0") == chosen(model, "ada", path="1.0.0") == "1.0.0"
    assert chosen(model, "carl", header="2.0.0") == chosen(model, "carl", header="challenger") == "2.0.0"
    assert chosen(model, "ada", path="champion", header="1.0.0") == "1.0.0"
    assert chosen(model, "ada", header="") == "2.0.0", "an empty header asks for nothing"


@given(
    st.sampled_from(["", "1.0.0", "2.0.0", "7.7.7", *ALIASES, "nobody"]),
    st.sampled_from([None, "", "1.0.0", "2.0.0", "7.7.7", *ALIASES, "nobody", "\xff" * 300, "1.0", " 1.0.0"]),
    st.sampled_from(["", "ada", "carl"]),
    st.integers(0, 10_000),
)
def test_a_request_gets_the_version_that_it_names_or_none(path, header, user, new):
    model = built(split=share(new), overrides=(FRIENDS,), aliases=ALIASES)
    wanted = {ALIASES.get(name, name) for name in (path, header) if name}
    if wanted - {"1.0.0", "2.0.0"}:
        with pytest.raises(NotFound) as refused:
            chosen(model, user, path=path, header=header)
        assert refused.value.details["running"] == ["1.0.0", "2.0.0"]
        assert refused.value.details["aliases"] == {"challenger": "2.0.0", "champion": "1.0.0", "latest": "2.0.0"}
        assert len(refused.value.message) < 300
    elif len(wanted) == 2:
        with pytest.raises(InvalidInput, match="leave one of them out"):
            chosen(model, user, path=path, header=header)
    else:
        assert not wanted or wanted == {chosen(model, user, path=path, header=header)}


def test_an_alias_whose_version_does_not_run_says_which_that_is():
    with pytest.raises(NotFound, match=r"version 0\.9\.0, which the alias 'old' names, of model 'm' does not run"):
        built(aliases=ALIASES).pinned("old")
    with pytest.raises(NotFound, match=r"version or alias 'nobody' of model 'm' does not run; running: \['1\.0\.0'"):
        built(aliases=ALIASES).pinned("nobody")


def test_of_two_overrides_that_fit_the_first_counts():
    assert chosen(built(split=share(0), overrides=(FRIENDS, CAREFUL)), "bob") == "2.0.0"


def test_an_override_is_for_users_not_for_request_ids():
    assert chosen(built(split=share(0), overrides=(FRIENDS,)), user="", own_id="ada") == "1.0.0"


def test_requests_that_name_no_unit_take_turns_through_all_tables():
    builder = TableBuilder()
    models = [built(builder=builder, split=share(1000), epoch=epoch) for epoch in range(1, 5)]
    versions = [chosen(model) for model in models for _ in range(250)]
    assert abs(versions.count("2.0.0") - 100) <= 3


def test_an_override_to_a_version_that_does_not_run_is_none():
    assert chosen(built(OLD, overrides=(FRIENDS,)), "ada") == "1.0.0"


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.sampled_from(["ada", "bob", "carl", "dora", ""]),
    st.text(min_size=1),
)
def test_every_choice_is_sticky_and_a_growing_weight_moves_units_one_way(one, other, user, own_id):
    low, high = sorted((one, other))
    options = {"overrides": (FRIENDS, CAREFUL)}
    before = chosen(built(split=share(low), **options), user, own_id)
    after = chosen(built(split=share(high), **options), user, own_id)
    assert (before, after) != ("2.0.0", "1.0.0")
    assert chosen(built(split=share(low), **options), user, own_id) == before
    if user in ("ada", "bob"):
        assert before == after == "2.0.0"


def test_versions_that_do_not_run():
    with pytest.raises(Unavailable, match=r"9\.0\.0 does not run"):
        chosen(built(OLD, split=Split.all_to("9.0.0")))
    with pytest.raises(NotFound, match=r"running: \['1\.0\.0'\]"):
        built(OLD).pinned("2.0.0")


def test_fallback_and_shadow_are_versions_that_run():
    model = built(fallback="1.0.0", shadow=Shadow("2.0.0", 1))
    assert (model.fallback, model.shadow) == (model.versions["1.0.0"], model.versions["2.0.0"])
    model = built(OLD, fallback="9.0.0", shadow=Shadow("9.0.0", 1))
    assert (model.fallback, model.shadow) == (None, None)
    assert built(shadow=Shadow("2.0.0", 0)).shadow is None


# --- who can be spared --------------------------------------------------------------------------------------------


def test_the_only_version_is_never_spared():
    model = built(OLD, policy=POLICY)
    trip(model.versions["1.0.0"])
    assert not model.can_spare(model.versions["1.0.0"])
    assert model.is_callable(model.versions["1.0.0"])


@pytest.mark.parametrize(
    ("new", "fallback", "spared"),
    [
        (1000, "", ["2.0.0"]),
        (1000, "1.0.0", ["2.0.0"]),
        (5000, "", ["2.0.0", "1.0.0"]),
        (9000, "", ["1.0.0"]),
        (9000, "1.0.0", ["2.0.0", "1.0.0"]),
        (0, "", ["2.0.0"]),
    ],
)
def test_what_is_spared_has_a_fallback_or_leaves_half_of_the_weight(new, fallback, spared):
    model = built(split=share(new), fallback=fallback, policy=POLICY)
    assert [number for number in ("2.0.0", "1.0.0") if model.can_spare(model.versions[number])] == spared


@given(st.sets(st.sampled_from(["1.0.0", "2.0.0", "3.0.0"])), st.sampled_from(["", "1.0.0"]))
def test_there_is_always_a_version_that_is_called(broken, fallback):
    targets = [target(f"{number}.0.0") for number in (3, 2, 1)]
    split = Split.by_shares([("3.0.0", 2000), ("2.0.0", 3000), ("1.0.0", 5000)])
    model = built(*targets, split=split, fallback=fallback, policy=POLICY)
    for number in broken:
        trip(model.versions[number])
    assert any(model.is_callable(version) for version in model.versions.values())


def test_an_unhealthy_fallback_spares_nobody():
    model = built(split=share(9000), fallback="1.0.0", policy=POLICY)
    trip(model.versions["1.0.0"])
    assert not model.can_spare(model.versions["2.0.0"])


# --- what outlives a table ----------------------------------------------------------------------------------------


def test_breakers_and_budgets_outlive_a_table_and_a_new_policy_makes_new_breakers():
    builder = TableBuilder()
    before = built(builder=builder, policy=POLICY)
    after = built(builder=builder, policy=POLICY, split=share(500))
    assert after.versions["2.0.0"] is before.versions["2.0.0"]
    assert after.budget is before.budget
    stricter = built(builder=builder, policy=GatewayPolicy(breaker=BreakerPolicy(failure_threshold=1)))
    assert stricter.versions["2.0.0"].breaker.policy.failure_threshold == 1
    assert stricter.versions["2.0.0"].lane is before.versions["2.0.0"].lane
    none = built(builder=builder)
    assert none.versions["2.0.0"].breaker is None
    assert none.versions["2.0.0"].recorder is before.versions["2.0.0"].recorder


# --- counts of versions that are over ------------------------------------------------------------------------------


def test_a_version_that_is_over_is_reported_until_its_counts_were_still_for_an_hour():
    builder = TableBuilder()
    built(OLD, builder=builder)
    recorder = builder.recorders["m", "1.0.0"]
    built(NEW, builder=builder)

    def reported(now):
        return {one.version: one.ok for one in builder.snapshots(now)}

    recorder.answered(0.001, 1)
    assert reported(QUIET_S) == {"1.0.0": 1, "2.0.0": 0}, "it has something to answer yet"
    builder.forget(OLD.app)
    assert reported(2 * QUIET_S - 1) == {"1.0.0": 1, "2.0.0": 0}
    recorder.answered(0.001, 1)  # feedback counts likewise
    assert reported(3 * QUIET_S) == {"1.0.0": 2, "2.0.0": 0}, "what is new is reported, and then for another hour"
    assert reported(4 * QUIET_S - 1) == {"1.0.0": 2, "2.0.0": 0}
    reported(4 * QUIET_S)
    assert reported(4 * QUIET_S + 1) == {"2.0.0": 0}
    assert reported(9 * QUIET_S) == {"2.0.0": 0}, "one that runs stays, counted or not"
    assert list(builder.recorders) == [("m", "2.0.0")]
