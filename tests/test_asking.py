"""Verbs: who may be asked for what, and that the caller's types are checked (tests/api/typed_asks.py, by mypy)."""

from __future__ import annotations

import pytest

from streamb.asking import Verbs, verb
from streamb.errors import NotFound


class Board:
    @verb
    def post(self, text: str) -> str:
        raise NotImplementedError

    def burn(self) -> None:
        raise AssertionError("nobody may ask for this")


class RealBoard(Board):
    def post(self, text: str, *, loud: bool = False) -> str:
        return text.upper() if loud else text

    @verb
    def read(self) -> list[str]:
        raise NotFound("there is nothing to read", place="board")


def test_the_object_runs_its_own_version_of_a_verb_of_its_base():
    verbs = Verbs(RealBoard())
    assert Board.post.__qualname__ == "Board.post"
    assert verbs.run("Board.post", ("hello",), {}) == "hello"
    assert verbs.run("Board.post", (), {"text": "hello", "loud": True}) == "HELLO"


@pytest.mark.parametrize("name", ["Board.burn", "burn", "post", "Board.__init__", "RealBoard.nothing", "Verbs.run", ""])
def test_whatever_is_not_marked_is_refused(name):
    verbs = Verbs(RealBoard())
    assert name not in verbs
    with pytest.raises(NotFound, match="cannot be called from another process"):
        verbs.run(name, (), {})


def test_errors_of_a_verb_come_through_as_they_are():
    with pytest.raises(NotFound, match="nothing to read") as caught:
        Verbs(RealBoard()).run("RealBoard.read", (), {})
    assert caught.value.details == {"place": "board"}
