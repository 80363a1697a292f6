"""Whatever a model raises is an error of the one request that made it raise."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from streamb.errors import ModelFailed, words_of
from streamb.models.outputs import failure_of
from streamb.serving.batch import Batch
from streamb.serving.links.wire import decode_reply, encode_reply
from streamb.serving.replica import BatchPredictor
from tests.serving.raised import KINDS, PLACES, Model, Own

HEADER = 13


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_fails_that_request_and_no_other(kind, place):
    batch = Batch(np.array([[1.0], [-1.0], [3.0]]), (1, 1, 1), (True, True, True))
    with ThreadPoolExecutor(1) as thread:  # a replica predicts in a thread as well
        reply = thread.submit(BatchPredictor(Model(KINDS[kind], place)).run, batch).result(30)
    sent = decode_reply(bytearray(encode_reply(1, reply)[HEADER:]))
    assert sent.predictions.tolist() == [2.0, 6.0]
    assert list(sent.errors) == [1]
    assert type(sent.errors[1]) is ModelFailed
    assert type(KINDS[kind]).__name__ in sent.errors[1].message or place == "generator"
    sent.errors[1].message.encode()


def test_a_property_of_the_model_that_raises_fails_the_call():
    class Sly(Model):
        @property
        def has_probabilities(self):
            raise Own

    reply = BatchPredictor(Sly(Own(), "predict")).run(Batch(np.ones((2, 1)), (1, 1), (True, False)))
    assert [error.message for error in reply.errors.values()] == ["the model raised Own"] * 2


def test_ctrl_c_in_the_main_thread_is_no_answer():
    """A person who waits for `register_model` must get away."""
    with pytest.raises(KeyboardInterrupt):
        failure_of(KeyboardInterrupt())


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_found_for_everything(kind):
    words = words_of(KINDS[kind], 30)
    assert words.startswith(type(KINDS[kind]).__name__[:30])
    assert len(words) <= 30
    assert words.encode().decode() == words
