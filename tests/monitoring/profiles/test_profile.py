import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import ArtifactCorrupt, InvalidInput
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.profile import Profile

ROWS = 700


def columns(seed, rows=ROWS):
    random = np.random.default_rng(seed)
    latent = random.normal(size=rows)
    return {
        "a": latent + 0.3 * random.normal(size=rows),
        "b": np.exp(latent),
        "zero": np.where(random.random(rows) < 0.6, 0.0, random.normal(size=rows) * 1e6),
        "missing": np.where(random.random(rows) < 0.2, np.nan, random.integers(0, 9, rows)),
        "colour": random.choice(["red", "green", "blue", "rare", None], rows, p=[0.4, 0.3, 0.2, 0.05, 0.05]).tolist(),
        "words": [" ".join(random.choice(["alpha", "beta", "gamma", "delta"], 4)) for _ in range(rows)],
    }


BASELINE = Baseline.learn(columns(1, 2000), predictions=np.random.default_rng(1).normal(size=2000))
WINDOW = columns(2)
ANSWERS = np.random.default_rng(3).normal(size=ROWS)
WHOLE = BASELINE.fold(WINDOW, ANSWERS)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_sharding_in_any_order_is_bit_for_bit_the_whole(data):
    owners = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers(0, data.draw(st.integers(1, 9)), ROWS)
    parts = []
    for owner in data.draw(st.permutations(np.unique(owners).tolist())):
        rows = np.flatnonzero(owners == owner)
        table = {name: [values[row] for row in rows] for name, values in WINDOW.items()}
        parts.append(Profile.from_bytes(BASELINE.fold(table, ANSWERS[rows]).to_bytes()))
    total = BASELINE.empty()
    for part in parts:
        total = total.plus(part)
    assert total == WHOLE


def test_pieces_of_a_large_table_do_not_matter():
    random = np.random.default_rng(4)
    baseline = Baseline.learn(random.normal(size=(2000, 80)))
    table = random.normal(size=(5000, 80))
    whole = baseline.fold(table)
    assert whole == baseline.fold(table[:1777]).plus(baseline.fold(np.asfortranarray(table[1777:])))
    assert whole.rows == 5000


def test_rows_count_once_in_each_histogram():
    for start, column in zip(BASELINE.counting.starts, BASELINE.columns, strict=True):
        for block in column.bins.blocks:
            at = start + block.start
            assert WHOLE.counters[at : at + block.classes].sum() == ROWS


def test_profiles_of_different_baselines_do_not_add_up():
    other = Baseline.learn(columns(9, 500))
    with pytest.raises(InvalidInput, match="different baselines"):
        WHOLE.plus(other.empty())


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: b"x" + d, lambda d: d[:40] + b"\0" + d[41:], lambda d: b""]
)
def test_damage_is_seen(damage):
    for data, read in ((WHOLE.to_bytes(), Profile.from_bytes), (BASELINE.to_bytes(), Baseline.from_bytes)):
        with pytest.raises(ArtifactCorrupt):
            read(damage(data))
