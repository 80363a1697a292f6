import math
import sys
import threading
import types
from dataclasses import replace

import pytest

from streamb.errors import InvalidInput, words_of
from streamb.metrics import LatencyHistogram, Snapshot
from streamb.metrics.criteria import Finding, Verdict, overall
from streamb.rollouts import analysis
from streamb.rollouts.analysis import HealthCriteria, StepEvidence, judge, run_custom
from streamb.rollouts.observation import with_copies
from tests.serving.raised import KINDS

P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741
NONE = Snapshot("m", "2")
EVERY_LIMIT = HealthCriteria(
    max_error_rate=0.05,
    max_latency_ms=100,
    min_accuracy=0.9,
    min_success_rate=0.9,
    max_error_value=1,
    min_throughput=1,
    max_drift_score=0.5,
    max_prediction_shift=0.5,
)


def snapshot(ok=0, errors=0, *, version="2", ms=(20.0,), **more) -> Snapshot:
    """Latencies are spread over `ms` evenly."""
    counts = {"ok": ok, "model_error": errors, **more.pop("counts", {})}
    each = (ok + errors) // len(ms)
    latency = LatencyHistogram.merge(
        LatencyHistogram(tuple((index, each * count) for index, count in LatencyHistogram.of([one / 1e3]).buckets))
        for one in ms
    )
    return Snapshot("m", version, counts=counts, latency=latency, **more)


def evidence(target=NONE, stable=None, recent=NONE, seconds=30.0, **more) -> StepEvidence:
    return StepEvidence(target, stable, recent, seconds, **more)


def found(criteria, given, min_samples=100) -> dict[str, Finding]:
    return {finding.criterion: finding for finding in judge(criteria, given, min_samples)}


class TestFastAbort:
    @pytest.mark.parametrize(
        ("errors", "count", "verdict"), [(9, 9, P), (10, 10, F), (5, 10, F), (2, 10, P), (60, 600, F), (33, 600, P)]
    )
    def test_it_fails_from_ten_requests_on_once_chance_is_ruled_out(self, errors, count, verdict):
        first = judge(HealthCriteria(), evidence(snapshot(count - errors, errors)), min_samples=1)[0]
        assert (first.criterion, first.verdict) == ("fast_abort", verdict)

    def test_too_few_samples_do_not_hold_it_back(self):
        assert overall(judge(HealthCriteria(), evidence(snapshot(0, 10)), min_samples=10_000)) is F

    def test_a_version_that_breaks_later_is_seen_in_the_last_seconds(self):
        given = evidence(snapshot(100_000, 40), recent=snapshot(0, 40))
        finding = found(HealthCriteria(), given)["fast_abort"]
        assert finding.verdict is F
        assert finding.detail == "40 of 40 requests failed in the last seconds: surely above 5.0 %"

    @pytest.mark.parametrize(
        ("counts", "words"),
        [
            ({"model_error": 12}, "12 of 12 requests failed since the step began: surely"),
            (
                {"timeout": 9, "unavailable": 3},
                "failed since the step began (9 had no answer in time; 3 found no replica that runs): surely",
            ),
        ],
    )
    def test_it_says_how_they_failed(self, counts, words):
        assert words in found(HealthCriteria(), evidence(Snapshot("m", "2", counts=counts)))["fast_abort"].detail

    @pytest.mark.parametrize(
        ("shadow", "criterion", "words"),
        [
            ({"failed": 20}, "fast_abort", "20 of 20 copied requests failed"),
            ({"refused": 20}, "client_errors_against_stable", "client errors 100.0 % against 0.0 % of stable"),
        ],
    )
    def test_copies_that_fail_and_copies_that_are_refused_are_told_apart(self, shadow, criterion, words):
        target, stable = with_copies(Snapshot("m", "2", shadow=shadow)), snapshot(500, 0, version="1")
        failed = [one for one in judge(HealthCriteria(), evidence(target, stable, copies=True), 1) if one.verdict is F]
        assert criterion in {one.criterion for one in failed}
        assert any(words in one.detail for one in failed), failed
        assert ("refused" in shadow) == (len(failed) == 1)

    @pytest.mark.parametrize("more", [{"stable": snapshot(700, 300, version="1")}, {"usual_error_rate": 0.3}])
    def test_without_a_limit_of_the_user_what_is_usual_here_counts(self, more):
        target = snapshot(350, 150)
        assert found(HealthCriteria(), evidence(target, **more))["fast_abort"].verdict is P
        assert found(HealthCriteria(), evidence(target))["fast_abort"].verdict is F
        assert found(HealthCriteria(max_error_rate=0.05), evidence(target, **more))["fast_abort"].verdict is F

    def test_what_is_not_the_versions_fault_does_not_count(self):
        counts = {"client_error": 500, "overload": 500}
        finding = found(HealthCriteria(), evidence(snapshot(200, counts=counts)))["fast_abort"]
        assert (finding.verdict, finding.value, finding.samples) == (P, 0.0, 200)

    def test_what_an_open_breaker_refuses_is_a_request_and_no_failure(self):
        def verdict(errors, ok, refused):
            given = snapshot(ok, errors, counts={"refused": refused})
            return found(HealthCriteria(), evidence(given, recent=given), min_samples=1)["fast_abort"].verdict

        assert verdict(6, 0, 3) is P, "nine requests"
        assert verdict(6, 0, 4) is F, "of ten, all that were called failed"
        assert verdict(3, 60, 10_000) is P, "three in a row opened it; most calls were answered"

    def test_one_that_breaks_later_is_seen_though_it_is_hardly_called_any_more(self):
        before, refusing = snapshot(10_000, 100), snapshot(0, 0, counts={"refused": 500})
        windows = {probes: (refusing, snapshot(0, probes, counts={"refused": 5000})) for probes in (3, 4)}
        verdicts = {
            probes: found(HealthCriteria(), evidence(before, recent=refusing, target_lately=lately))["fast_abort"]
            for probes, lately in windows.items()
        }
        assert [verdicts[probes].verdict for probes in (3, 4)] == [P, F]
        assert "4 of 4 requests failed lately" in verdicts[4].detail

    def test_no_error_at_all_may_be_asked_for(self):
        criteria = HealthCriteria(max_error_rate=0.0)
        assert found(criteria, evidence(snapshot(500, 1)))["fast_abort"].verdict is F
        assert found(criteria, evidence(snapshot(500)))["fast_abort"].verdict is P


class TestSamples:
    @pytest.mark.parametrize("min_samples", [0, 1, 100])
    def test_no_traffic_is_inconclusive(self, min_samples):
        stable = snapshot(10_000, version="1")
        assert {f.verdict for f in judge(EVERY_LIMIT, evidence(stable=stable), min_samples)} == {I}
        assert {f.verdict for f in judge(EVERY_LIMIT, evidence(), min_samples)} == {I}

    def test_too_few_are_inconclusive_and_say_so(self):
        finding = found(HealthCriteria(), evidence(snapshot(99)), min_samples=100)["fast_abort"]
        assert finding.verdict is I
        assert finding.detail.startswith("only 99 of the 100 requests needed; so far: ")
        assert found(HealthCriteria(), evidence(snapshot(100)), min_samples=100)["fast_abort"].verdict is P

    def test_stable_needs_traffic_too(self):
        findings = found(HealthCriteria(), evidence(snapshot(5000), snapshot(9, version="1")))
        assert findings["error_rate_against_stable"].verdict is findings["latency_against_stable"].verdict is I


class TestComparison:
    def judged(self, target, stable, **criteria):
        blocks = ((target.latency, stable.latency),) * 12 if stable is not None else ()
        return found(HealthCriteria(**criteria), evidence(target, stable, target, blocks=blocks))

    def test_worse_for_sure_and_by_more_than_tolerated_fails_in_plain_words(self):
        finding = self.judged(snapshot(3836, 164), snapshot(11_760, 240, version="1"))["error_rate_against_stable"]
        assert finding.verdict is F
        assert finding.detail == (
            "error rate 4.1 % against 2.0 % of stable: worse for sure (by 0.8 points at least, where 1 is tolerated)"
        )
        assert (round(finding.value, 3), finding.limit, finding.samples) == (0.021, 0.01, 4000)

    @pytest.mark.parametrize(
        ("target", "stable", "verdict"),
        [
            ((980, 20), (2940, 60), P),  # the same
            ((990, 10), (2940, 60), P),  # better
            ((48, 2), (2940, 60), P),  # 4 %, but of 50: no sign of harm
            ((960, 40), (2940, 60), I),  # suspicious
            ((197_200, 2800), (588_000, 12_000), P),  # better for sure
            ((195_000, 5000), (588_000, 12_000), P),  # worse for sure, by half of what is tolerated for sure
            ((48_550, 1450), (147_000, 3000), I),  # worse for sure; whether by more than is tolerated, nobody knows
        ],
    )
    def test_the_table(self, target, stable, verdict):
        findings = found(HealthCriteria(), evidence(snapshot(*target), snapshot(*stable, version="1")), 50)
        assert findings["error_rate_against_stable"].verdict is verdict

    def test_a_slower_version_fails(self):
        usual, slow = tuple(range(50, 150)), tuple(1.4 * one for one in range(50, 150))
        finding = self.judged(snapshot(2000, ms=slow), snapshot(8000, ms=usual, version="1"))["latency_against_stable"]
        assert finding.verdict is F
        assert "p95 latency 20" in finding.detail
        assert "slower for sure" in finding.detail
        assert finding.value == pytest.approx(0.4, abs=0.03)

    def test_it_must_be_slower_block_by_block_and_not_only_in_a_busy_moment(self):
        usual, slow = tuple(range(50, 150)), tuple(3 * one for one in range(50, 150))
        calm, busy = snapshot(800, ms=usual).latency, snapshot(800, ms=slow).latency
        target, stable = snapshot(2000, ms=(*usual, *slow)), snapshot(8000, ms=usual, version="1")
        blocks = ((calm, calm),) * 6 + ((busy, calm),) * 3 + ((calm, calm),) * 3
        finding = found(HealthCriteria(), evidence(target, stable, target, blocks=blocks))["latency_against_stable"]
        assert finding.verdict is I
        assert "whether that lasts or the machine was busy" in finding.detail

    def test_answers_that_waited_for_a_dead_replica_are_named(self):
        target, stable = snapshot(2000, disturbed=3), snapshot(8000, version="1")
        assert "3 answers waited for a replica" in self.judged(target, stable)["latency_against_stable"].detail

    def test_a_version_that_was_slow_only_for_a_moment_does_not(self):
        usual, slow = tuple(range(50, 150)), tuple(1.4 * one for one in range(50, 150))
        target, stable = snapshot(2000, ms=slow), snapshot(8000, ms=usual, version="1")
        given = evidence(target, stable, recent=snapshot(400, ms=usual))
        finding = found(HealthCriteria(), given)["latency_against_stable"]
        assert finding.verdict is I
        assert "not in the last seconds" in finding.detail

    def test_milliseconds_within_the_slack_are_not_held_against_a_version(self):
        target, stable = snapshot(2000, ms=(4.0,)), snapshot(8000, ms=(2.0,), version="1")
        assert self.judged(target, stable)["latency_against_stable"].verdict is P
        assert self.judged(target, stable, latency_slack_ms=0)["latency_against_stable"].verdict is F

    def test_it_can_be_turned_off_and_needs_a_stable_version(self):
        target, stable = snapshot(500), snapshot(500, version="1")
        assert list(self.judged(target, stable, compare_with_stable=False)) == ["fast_abort"]
        assert list(self.judged(target, None)) == ["fast_abort"]


class TestClientErrors:
    def judged(self, target, stable, min_samples=100, **more) -> Finding:
        given = evidence(target, snapshot(*stable[:1], version="1", counts={"client_error": stable[1]}), **more)
        return found(HealthCriteria(), given, min_samples)["client_errors_against_stable"]

    @pytest.mark.parametrize(
        ("target", "refused", "stable", "verdict"),
        [
            (0, 73, (400, 2), F),  # it refuses everything: no request is judged
            (300, 6, (900, 18), P),  # as many as stable
            (300, 15, (900, 18), I),  # suspicious
            (300, 30, (900, 9), F),
            (28, 2, (900, 0), I),
            (4, 5, (900, 0), I),  # too few
            (0, 40, (6, 0), F),  # stable has few
            (0, 40, (0, 0), I),  # nothing to compare with, and no judged request
            (3000, 60, (0, 0), P),  # nothing to compare with
        ],
    )
    def test_the_share_is_compared_with_stables(self, target, refused, stable, verdict):
        finding = self.judged(snapshot(target, counts={"client_error": refused}), stable)
        assert finding.verdict is verdict, finding.detail

    def test_the_words_name_both_shares(self):
        finding = self.judged(snapshot(70, counts={"client_error": 30}), (990, 10))
        assert finding.detail.startswith("client errors 30.0 % against 1.0 % of stable: worse for sure (by ")

    def test_if_stable_has_no_request_now_its_usual_ones_count(self):
        usual = snapshot(900, version="1", counts={"client_error": 400})
        target = snapshot(300, counts={"client_error": 100})
        assert self.judged(target, (0, 0), usual=usual).verdict is P


class TestHidden:
    def test_unanswered_requests_fail_the_step_within_seconds(self):
        target = snapshot(30, overdue=12)
        findings = found(HealthCriteria(), evidence(target, snapshot(500, version="1"), target))
        assert findings["fast_abort"].verdict is F
        assert findings["fast_abort"].detail.startswith(
            "12 of 42 requests failed or have had no answer for more than 2 s"
        )
        assert findings["unanswered"].verdict is I
        assert findings["unanswered"].detail == "12 requests have had no answer for more than 2 s"

    def test_a_few_are_never_a_pass(self):
        given = evidence(snapshot(5000, overdue=1), snapshot(5000, version="1"))
        assert overall(judge(HealthCriteria(), given, 100)) is I

    def test_if_stable_does_not_answer_either_it_is_not_the_versions_fault(self):
        given = evidence(snapshot(30, overdue=12), snapshot(60, version="1", overdue=30))
        assert found(HealthCriteria(), given)["fast_abort"].verdict is not F

    @pytest.mark.parametrize(
        ("target", "recent", "stable", "held"),
        [
            ((900, 300), (90, 0), 0, True),  # a quarter of the step, though not lately
            ((9000, 30), (100, 0), 0, False),  # one short opening
            ((9000, 30), (10, 30), 0, True),  # it is open now
            ((900, 300), (90, 0), 900, False),  # stable's breakers open as often
        ],
    )
    def test_what_breakers_hid_is_never_a_pass(self, target, recent, stable, held):
        counts = [snapshot(ok, counts={"refused": refused}) for ok, refused in (target, recent)]
        given = evidence(counts[0], snapshot(2700, version="1", counts={"refused": stable}), counts[1])
        findings = found(HealthCriteria(), given)
        assert ("refused" in findings) is held
        assert overall(findings.values()) is (I if held else P)


class TestBrokenStable:
    def judged(self, target, stable, **more) -> dict[str, Finding]:
        given = evidence(target, stable, target, blocks=((target.latency, stable.latency),) * 12, **more)
        return found(HealthCriteria(), given)

    def test_its_fix_passes_though_errors_were_quicker(self):
        findings = self.judged(snapshot(3000, 3, ms=(80.0,)), snapshot(2000, 3000, ms=(2.0,), version="1"))
        assert overall(findings.values()) is P
        for name in ("error_rate_against_stable", "latency_against_stable"):
            assert "because the stable version itself fails 60.0 % of its requests" in findings[name].detail

    @pytest.mark.parametrize(
        ("target", "verdict"),
        [((2700, 300), P), ((1200, 1800), P), ((300, 2700), F), ((2960, 40), P)],
    )
    def test_no_worse_than_it_passes_and_worse_fails(self, target, verdict):
        assert overall(self.judged(snapshot(*target), snapshot(2000, 3000, version="1")).values()) is verdict

    @pytest.mark.parametrize(("target", "verdict"), [((2990, 10), P), ((2700, 300), I), ((600, 2400), F)])
    def test_one_that_does_not_run_cannot_be_compared_with(self, target, verdict):
        findings = self.judged(snapshot(*target), snapshot(version="1"), stable_down=True)
        assert overall(findings.values()) is verdict
        assert "the stable version does not run" in findings["error_rate_against_stable"].detail

    def test_pairs_that_never_come_do_not_hold_up_the_fix(self):
        pairs = snapshot(shadow={"failed": 3})
        broken = snapshot(0, 900, version="1")
        assert overall(self.judged(snapshot(3000), broken, pairs=pairs).values()) is P


class TestBake:
    usual = snapshot(9000, 180, version="1", ms=(20.0,), counts={"client_error": 90})

    def judged(self, target, **more) -> dict[str, Finding]:
        given = evidence(target, None, target, usual=self.usual, **{"seconds": 60.0, **more})
        return found(HealthCriteria(), given)

    def test_as_usual_passes(self):
        findings = self.judged(snapshot(2000, 40, counts={"client_error": 20}))
        assert overall(findings.values()) is P
        assert "where 2.0 % were usual of the version before" in findings["error_rate_against_usual"].detail
        assert not any(one.asks for one in findings.values())

    @pytest.mark.parametrize(
        ("target", "name", "verdict"),
        [
            (snapshot(1850, 150), "error_rate_against_usual", F),
            (snapshot(1940, 60), "error_rate_against_usual", P),  # 1 point more: within the tolerance
            (snapshot(2000, counts={"client_error": 200}), "client_errors_against_usual", F),
            (snapshot(2000, ms=(29.0,)), "latency_against_usual", P),  # within twice the tolerance
            (snapshot(2000, ms=(60.0,)), "latency_against_usual", F),
        ],
    )
    def test_clearly_worse_than_usual_fails(self, target, name, verdict):
        assert self.judged(target)[name].verdict is verdict

    def test_a_slow_start_is_no_reason(self):
        slow = snapshot(2000, ms=(60.0,))
        assert self.judged(slow, seconds=10.0)["latency_against_usual"].verdict is P

    def test_without_usual_figures_only_absolute_limits_count(self):
        assert list(found(HealthCriteria(), evidence(snapshot(2000)))) == ["fast_abort"]


def feedback(**counts) -> StepEvidence:
    return evidence(snapshot(5000, feedback=counts))


MOSTLY_QUICK = evidence(snapshot(300, ms=(9, 9, 99)))


def errors_of(labels, mean, square) -> StepEvidence:
    micro = labels * 10**6
    return feedback(labels=labels, error_micro=mean * micro, squared_error_micro=square * micro)


class TestLimits:
    @pytest.mark.parametrize(
        ("criteria", "given", "name", "verdict"),
        [
            ({"max_error_rate": 0.05}, evidence(snapshot(960, 40)), "error_rate", P),
            ({"max_error_rate": 0.05}, evidence(snapshot(945, 55)), "error_rate", I),
            ({"max_error_rate": 0.05}, evidence(snapshot(850, 150)), "error_rate", F),
            ({"max_latency_ms": 30}, evidence(snapshot(500)), "p95_latency", P),
            ({"max_latency_ms": 15}, evidence(snapshot(500)), "p95_latency", F),
            ({"max_latency_ms": 30}, evidence(snapshot(500, ms=(20,) * 15 + (40,))), "p95_latency", I),
            ({"max_latency_ms": 30, "latency_percentile": 50}, MOSTLY_QUICK, "p50_latency", P),
            ({"min_accuracy": 0.9}, evidence(snapshot(5000)), "accuracy", I),
            ({"min_accuracy": 0.9}, feedback(labels=29, correct=29), "accuracy", I),
            ({"min_accuracy": 0.9}, feedback(labels=300, correct=280), "accuracy", P),
            ({"min_accuracy": 0.9}, feedback(labels=300, correct=265), "accuracy", I),
            ({"min_accuracy": 0.9}, feedback(labels=300, correct=200), "accuracy", F),
            ({"min_success_rate": 0.5}, feedback(successes=60, failures=40), "success_rate", P),
            ({"min_success_rate": 0.5}, feedback(successes=5, failures=95), "success_rate", F),
            ({"min_success_rate": 0.5}, feedback(labels=300), "success_rate", I),
            ({"max_error_value": 2}, errors_of(100, mean=1, square=2), "error_value", P),
            ({"max_error_value": 2}, errors_of(100, mean=5, square=26), "error_value", F),
            ({"max_error_value": 2}, errors_of(5, mean=10, square=200), "error_value", I),
            ({"max_error_value": 2}, feedback(), "error_value", I),
            ({"min_throughput": 10}, evidence(snapshot(3000)), "throughput", P),
            ({"min_throughput": 200}, evidence(snapshot(3000)), "throughput", I),
            ({"min_throughput": 200}, evidence(snapshot(3000, queued=50)), "throughput", F),
            ({"min_throughput": 10}, evidence(snapshot(3000), seconds=2), "throughput", I),
            ({"max_drift_score": 0.3}, evidence(snapshot(3000)), "drift_score", I),
            ({"max_drift_score": 0.3}, evidence(snapshot(3000), drift_score=0.1), "drift_score", P),
            ({"max_drift_score": 0.3}, evidence(snapshot(3000), drift_score=0.4), "drift_score", F),
        ],
    )  # fmt: skip
    def test_each(self, criteria, given, name, verdict):
        assert found(HealthCriteria(**criteria), given)[name].verdict is verdict

    @pytest.mark.parametrize(
        ("target", "verdict"),
        [
            ({"a": 480, "b": 520}, P),
            ({"a": 900, "b": 100}, F),
            ({}, I),
            ({"a": 9, "b": 1}, I),
            ({"a": 490, "other": 510}, P),
            ({"a": 10, "other": 990}, F),
        ],
    )
    def test_predictions_that_move_away_from_those_of_stable(self, target, verdict):
        stable = snapshot(5000, version="1", predictions={"a": 2500, "b": 2500})
        given = evidence(snapshot(1000, predictions=target), stable)
        assert found(HealthCriteria(max_prediction_shift=0.2), given)["prediction_shift"].verdict is verdict


class TestCustom:
    @pytest.fixture
    def module(self, monkeypatch):
        module = types.ModuleType("my_criteria")
        monkeypatch.setitem(sys.modules, "my_criteria", module)
        return module

    def run(self, function, module, judged=500) -> Finding:
        module.check = function
        criteria = HealthCriteria.read({"custom": ["my_criteria:check"]})
        return judge(criteria, evidence(snapshot(judged)), 100)[-1]

    def test_its_finding_counts(self, module):
        assert self.run(lambda given: Finding("mine", F, f"{given.seconds:.0f} s"), module).detail == "30 s"

    def test_its_pass_needs_enough_requests_as_well(self, module):
        assert self.run(lambda _: Finding("mine", P, "fine"), module).verdict is P
        assert self.run(lambda _: Finding("mine", P, "fine"), module, judged=5).verdict is I

    @pytest.mark.parametrize("answer", [None, True, "pass", Finding("mine", "pass", "")])
    def test_any_other_answer_is_inconclusive(self, module, answer):
        assert self.run(lambda _: answer, module).verdict is I

    @pytest.mark.parametrize("error", list(KINDS.values()))
    def test_an_error_is_inconclusive_with_its_reason(self, module, error):
        def fails(_):
            raise error

        finding = self.run(fails, module)
        assert finding.verdict is I
        assert f"cannot judge: {words_of(error)}" in finding.detail

    @pytest.mark.parametrize("path", ["nowhere.at_all:check", "my_criteria:missing"])
    def test_one_that_is_not_there_is_inconclusive(self, module, path):
        finding = judge(HealthCriteria(custom=(path,)), evidence(snapshot(500)), 100)[-1]
        assert (finding.criterion, finding.verdict) == (path, I)


class TestOptions:
    def test_a_criterion_that_hangs_holds_up_one_look_and_is_not_called_again_meanwhile(self, monkeypatch):
        called, let_go = [], threading.Event()
        module = types.ModuleType("slow_criteria")
        module.check = lambda _: called.append(1) or (let_go.wait(60) and Finding("slow", P, "at last"))
        monkeypatch.setitem(sys.modules, "slow_criteria", module)
        looks = [run_custom("slow_criteria:check", evidence(), patience_s=0.01) for _ in range(3)]
        assert {one.verdict for one in looks} == {I}
        assert ("within 0.01 s" in looks[0].detail, "earlier look" in looks[1].detail, len(called)) == (True, True, 1)
        let_go.set()
        analysis._running["slow_criteria:check"].join(60)
        assert run_custom("slow_criteria:check", evidence()).verdict is P

    def test_what_was_given_is_read_and_written_back(self):
        options = {"max_error_rate": 0.02, "max_latency_ms": 200, "latency_percentile": 99, "custom": ["a.b:c"]}
        criteria = HealthCriteria.read(options)
        assert (criteria.max_error_rate, criteria.custom) == (0.02, ("a.b:c",))
        assert HealthCriteria.read(criteria.to_json()) == criteria
        assert HealthCriteria.read({"max_error_rate": None}) == HealthCriteria.read({})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *[("max_error_rate", value) for value in (-0.1, 1.1, "0.1", True, math.nan)],
            *[("latency_percentile", value) for value in (90, 95.5, "95")],
            *[("custom", value) for value in ("a:b", ["a"], ["os:system"], [3], ["a b:c"], ["a:b"] * 21)],
            *[("max_latency_ms", -1), ("compare_with_stable", 1), ("min_throughput", math.inf)],
            ("min_acuracy", 0.9),
        ],
    )
    def test_a_bad_one_is_refused_by_name(self, name, value):
        with pytest.raises(InvalidInput) as refused:
            HealthCriteria.read({name: value})
        assert len(refused.value.details["problems"]) == 1
        assert name in refused.value.message

    def test_all_bad_ones_are_named(self):
        with pytest.raises(InvalidInput) as refused:
            HealthCriteria.read({"max_error_rate": 2, "nonsense": 1, "min_accuracy": 0.5})
        assert len(refused.value.details["problems"]) == 2


def test_every_finding_speaks_to_people():
    stable = snapshot(9000, 90, version="1", predictions={"a": 9000})
    target = snapshot(3000, 30, predictions={"a": 3000}, feedback={"labels": 50, "correct": 49})
    findings = judge(EVERY_LIMIT, replace(evidence(target, stable, target), drift_score=0.1), 100)
    assert len({finding.criterion for finding in findings}) == len(findings) == 12
    assert all(len(finding.detail) > 10 and "None" not in finding.detail for finding in findings)
