"""What a model raises never reaches a caller in its own words, whatever it raises: they may hold values of rows."""

import logging

import numpy as np
import pytest

from streamb import errors
from streamb.clock import ManualClock
from streamb.errors import InvalidFeatures, InvalidInput, ModelFailed, StreambError
from streamb.models.schema import FeatureSchema
from streamb.serving.batch import Batch
from streamb.serving.links.wire import decode_reply, encode_reply
from streamb.serving.references import MOST_IN_WINDOW, WINDOW_S, References
from streamb.serving.replica import BatchPredictor

SECRET = "4929-1234-5678-9012"
HEADER = 13
OURS = sorted(
    {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, StreambError)},
    key=lambda cls: cls.__name__,
)
RAISED = [
    *(cls(f"row {SECRET}", rows=[SECRET]) for cls in OURS),
    ValueError(SECRET),
    KeyError(SECRET),
    SystemExit(SECRET),
]


class Model:
    schema = None
    has_probabilities = True

    def __init__(self, error, place="predict"):
        self.error, self.place = error, place

    def predict(self, X):
        if self.place == "predict":
            raise self.error
        return np.zeros(len(X)) if self.place != "answer" else {SECRET: [1], f"{SECRET} ": [1, 2]}

    def predict_proba(self, X):
        raise self.error


def everything(sent) -> str:
    return repr([(type(one).__name__, one.message, one.details) for one in sent.errors.values()])


@pytest.mark.parametrize("place", ["predict", "predict_proba"])
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_callers_get_a_reference_and_the_log_the_words(error, place, caplog):
    batch = Batch(np.ones((3, 1)), (1, 1, 1), (True, True, True))
    reply = BatchPredictor(Model(error, place), references=References()).run(batch)
    sent = decode_reply(bytearray(encode_reply(1, reply)[HEADER:]))
    assert len(sent.errors) == 3
    assert SECRET not in everything(sent)
    for one in sent.errors.values():
        assert isinstance(one, InvalidInput if isinstance(error, InvalidInput) else ModelFailed)
        reference = one.message.rpartition("reference ")[2].rstrip(")")
        assert any(reference in line and SECRET in line for line in caplog.messages)


def test_streambs_own_words_stay():
    model = Model(None, "fine")
    model.schema = FeatureSchema.learn(np.ones((2, 2)))
    model.has_probabilities = False
    reply = BatchPredictor(model, references=References()).run(Batch([["x", 1.0]], (1,)))
    assert "reference" not in everything(reply), reply.errors


def test_a_trial_hears_the_words():
    reply = BatchPredictor(Model(ValueError(SECRET))).run(Batch(np.ones((1, 1)), (1,)))
    assert SECRET in reply.errors[0].message


def test_requests_that_were_not_told_apart_do_not_hear_of_each_other(monkeypatch):
    clock = ManualClock()
    ours = InvalidFeatures(f"row 1: {SECRET} is no number", problems=[SECRET])

    class Schema:
        is_open = False

        def to_input(self, _rows):
            clock.advance(20)
            raise ours

    model = Model(None)
    model.schema = Schema()
    monkeypatch.setattr("streamb.models.outputs._is_foreign", lambda _error: False)
    reply = BatchPredictor(model, clock=clock).run(Batch(np.ones((4, 1)), (1, 1, 1, 1)))
    assert len(reply.errors) == 4
    assert SECRET not in everything(reply)


def test_a_flood_of_failures_does_not_fill_the_log(caplog):
    clock = ManualClock()
    references = References(clock)
    error = ValueError(SECRET)
    model = Model(error)
    predictor = BatchPredictor(model, references=references)
    with caplog.at_level(logging.ERROR):
        told = [predictor.run(Batch(np.ones((1, 1)), (1,))).errors[0].message for _ in range(3 * MOST_IN_WINDOW)]
        assert len(caplog.messages) == MOST_IN_WINDOW
        assert not any(SECRET in one for one in told)
        clock.advance(WINDOW_S + 1)
        assert "reference" in predictor.run(Batch(np.ones((1, 1)), (1,))).errors[0].message


def test_the_log_has_one_line_for_each(caplog):
    BatchPredictor(Model(ValueError("a\nreference 0: forged\x1b[2J")), references=References()).run(
        Batch(np.ones((1, 1)), (1,))
    )
    assert all("\n" not in line and "\x1b" not in line for line in caplog.messages)
