import numpy as np
import pytest

from streamb.metrics import Snapshot
from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.predictions import NAN, PredictionCounter
from streamb.rollouts.analysis import HealthCriteria, StepEvidence, judge
from streamb.rollouts.outputs import compare_outputs, most_disagreement

P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741
LABELS = {"a": 600, "b": 300, "c": 100}
STABLE = Snapshot("m", "1", counts={"ok": 5000}, predictions={name: 5 * count for name, count in LABELS.items()})


def numbers(values) -> dict:
    counter = PredictionCounter()
    counter.count(np.asarray(values, float), "regression")
    return counter.counts()


def pairs(compared=1000, mine=LABELS, theirs=LABELS, **shadow) -> Snapshot:
    counts = {"sent": compared, "compared": compared, **shadow}
    return Snapshot("m", "2", shadow=counts, shadow_predictions=mine, shadow_expected=theirs)


def found(counted: Snapshot | None, min_samples=50, stable=STABLE, criteria=None, **more) -> dict[str, Finding]:
    given = StepEvidence(Snapshot("m", "2"), stable, Snapshot("m", "2"), 30.0, pairs=counted, **more)
    return {one.criterion: one for one in compare_outputs(criteria or HealthCriteria(), given, min_samples)}


def verdicts(*args, **more) -> dict[str, Verdict]:
    return {name.removeprefix("output_"): one.verdict for name, one in found(*args, **more).items()}


def test_equal_answers_pass_and_all_findings_ask():
    findings = found(pairs())
    assert {one.verdict for one in findings.values()} == {P}
    assert list(findings) == ["output_type", "output_constant", "output_disagreement", "output_shift"]
    assert all(one.asks and len(one.detail) > 10 for one in findings.values())
    words = findings["output_disagreement"].detail
    assert words == (
        "0 of 1,000 rows (0.0 %) are answered differently from the stable version; "
        "2.0 % are allowed, and more than 0.3 % is unlikely"
    )


@pytest.mark.parametrize(
    ("compared", "disagreed", "verdict"), [(1000, 50, F), (1000, 25, I), (1000, 20, P), (100, 9, F), (100, 5, I)]
)
def test_rows_that_are_answered_differently(compared, disagreed, verdict):
    finding = found(pairs(compared, disagreed=disagreed))["output_disagreement"]
    assert finding.verdict is verdict, finding.detail


def test_the_limit_depends_on_the_task_or_is_given():
    prices = numbers(range(1, 100))
    assert most_disagreement(HealthCriteria(), LABELS) == 0.02
    assert most_disagreement(HealthCriteria(), prices) == 0.10
    assert most_disagreement(HealthCriteria(max_disagreement=0.3), prices) == 0.3
    assert verdicts(pairs(mine=prices, theirs=prices, disagreed=60))["disagreement"] is P
    wide = HealthCriteria(max_disagreement=0.5)
    assert verdicts(pairs(disagreed=400), criteria=wide)["disagreement"] is P


def test_another_type_is_found_in_a_few_pairs_and_is_not_told_twice():
    findings = found(pairs(4, mine={"yes": 4}, theirs=numbers([1, 2, 3, 4]), retyped=4, disagreed=4))
    assert findings["output_type"].verdict is F
    assert "4 of 4 answers have another type" in findings["output_type"].detail
    assert findings["output_disagreement"].verdict is I


@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        ({"a": 60}, LABELS, F),
        ({"a": 49}, {"a": 30, "b": 30}, P),  # too few answers
        ({"a": 60}, {"a": 900}, P),  # stable says so too
        ({"a": 60}, {"a": 900, "b": 9}, P),  # chance
        ({"a": 900}, {"a": 880, "b": 20}, F),
        (numbers([0.5] * 60), numbers(np.linspace(0, 1, 60)), F),
    ],
)
def test_a_constant(mine, theirs, verdict):
    assert verdicts(pairs(mine=mine, theirs=theirs))["constant"] is verdict


def test_the_constant_is_named():
    assert (
        'all 60 answers are "a", where the stable version gives 3'
        in found(pairs(mine={"a": 60}))["output_constant"].detail
    )
    constant = found(pairs(mine=numbers([0.5] * 60), theirs=numbers(np.linspace(0, 1, 60))))["output_constant"]
    assert "are about 0.5" in constant.detail


def test_answers_that_are_no_numbers():
    theirs = numbers(np.linspace(1, 9, 200))
    mine = numbers([*np.linspace(1, 9, 160), *[np.nan] * 40])
    assert mine[NAN] == 40
    finding = found(pairs(200, mine=mine, theirs=theirs), deterministic=False)["output_type"]
    assert finding.verdict is F
    assert "40 of 200 answers are not a number (NaN), and 0.0 % of the stable version's" in finding.detail
    assert verdicts(pairs(200, mine=mine, theirs=mine))["type"] is P, "as stable does"


def test_a_shift_of_the_distribution_is_all_that_is_seen_of_versions_that_are_not_deterministic():
    moved = {"a": 400, "b": 300, "c": 300}
    findings = verdicts(pairs(mine=moved, disagreed=700), deterministic=False)
    assert findings == {"type": P, "constant": P, "shift": F}
    assert verdicts(pairs(mine={"a": 590, "b": 305, "c": 105}), deterministic=False)["shift"] is P


def labels(first: int, count: int, names: int, seed: int) -> dict:
    counter = PredictionCounter()
    counter.count(np.random.default_rng(seed).integers(first, first + names, count).astype(str), "classification")
    return counter.counts()


def test_versions_of_many_labels_are_compared_by_the_names_that_both_have():
    mine, theirs = labels(0, 5_000, 1_000, 1), labels(0, 5_000, 1_000, 2)
    assert mine.keys() != theirs.keys()
    assert verdicts(pairs(5_000, mine=mine, theirs=theirs))["shift"] is P
    assert verdicts(pairs(5_000, mine={**mine, "999": 2_500}, theirs={**theirs, "999": 5}))["shift"] is F
    assert verdicts(pairs(mine=labels(0, 1_000, 2, 1), theirs=labels(0, 1_000, 20, 2)))["shift"] is F


def test_other_is_no_constant_answer():
    assert verdicts(pairs(mine={"other": 1_000}, theirs=labels(0, 1_000, 300, 2)))["constant"] is P
    assert verdicts(pairs(mine={"7": 1_000}, theirs=labels(0, 1_000, 300, 2)))["constant"] is F


def test_a_limit_of_the_user_on_the_shift_takes_its_place():
    criteria = HealthCriteria(max_prediction_shift=0.5)
    assert "shift" not in verdicts(pairs(), criteria=criteria)


def test_without_what_stable_said_to_the_copies_its_answers_to_clients_count():
    assert verdicts(pairs(mine={"a": 200, "b": 400, "c": 400}, theirs={}))["shift"] is F


@pytest.mark.parametrize(
    ("min_samples", "compared", "verdict"), [(50, 49, I), (50, 50, P), (3000, 99, I), (3000, 100, P)]
)
def test_too_few_pairs_are_inconclusive(min_samples, compared, verdict):
    assert set(verdicts(pairs(compared), min_samples=min_samples).values()) == {verdict}


def test_it_says_how_many_there_are_and_what_would_make_it_known():
    detail = found(pairs(12), min_samples=3000)["output_disagreement"].detail
    assert detail.startswith("only 12 of the 100 pairs of answers needed (requests to the stable version bring more")
    none = found(pairs(0, mine={}, failed=40))["output_disagreement"].detail
    assert none == "only 0 of the 50 pairs of answers needed (40 of 40 copies failed or were refused)"


def test_nothing_is_compared_where_there_is_nothing_to_compare():
    assert found(None) == {}
    assert found(pairs(), stable=None) == {}
    assert found(pairs(), criteria=HealthCriteria(compare_outputs=False)) == {}


def test_what_asks_needs_pairs_and_not_requests():
    given = StepEvidence(Snapshot("m", "2"), STABLE, Snapshot("m", "2"), 30.0, pairs=pairs())
    asking = [one for one in judge(HealthCriteria(), given, 3000) if one.asks]
    assert {one.verdict for one in asking} == {P}
