import pytest

from tests.rollouts.fakes import House


@pytest.fixture
def house() -> House:
    return House()
