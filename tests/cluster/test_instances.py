"""Answers of `ModelScaler`'s instances, without Ray: one that nobody waits for does not keep the others."""

from concurrent.futures import Future

import pytest

from streamb.cluster.instances import HostedModel, _Messenger
from streamb.errors import ModelFailed, StartFailed
from tests.serving.raised import KINDS


class Ref:
    """A reference to an answer of Ray."""

    def __init__(self) -> None:
        self.answer: Future[object] = Future()

    def future(self) -> Future[object]:
        return self.answer


def test_an_answer_that_was_given_up_does_not_end_the_thread_that_delivers_them():
    messenger, given_up, cancelled, usual = _Messenger(), Ref(), Ref(), Ref()
    futures = [messenger.future(ref) for ref in (given_up, cancelled, usual)]
    futures[0].cancel()
    given_up.answer.set_result(1)
    cancelled.answer.cancel()
    cancelled.answer.set_running_or_notify_cancel()
    usual.answer.set_result(3)
    assert futures[2].result(30) == 3
    assert "an instance died" in str(futures[1].exception(30))


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_factory_or_a_model_raises_is_an_answer(kind):
    """Raised, a SystemExit would end the actor."""

    def fails(_rows=None):
        raise KINDS[kind]

    hosted = HostedModel(1.0)
    assert type(hosted.load(fails)) is StartFailed
    assert hosted.load(lambda: fails) is None
    assert type(hosted.predict([[1.0]])) is ModelFailed
