"""Models of every kind, from training to an answer over HTTP; and those that are refused, with what they are told.

Each is wrapped, saved, stored as the platform stores it, loaded in a process that has made no model, and served by a
gateway; the answers must be those of its library, bit for bit. `make soak` runs all of them and prints the table.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamb.clock import SystemClock
from streamb.config import child_environment
from streamb.crypto import SigningKey
from streamb.errors import StreambError
from streamb.models import FeatureSchema, Model, pack
from streamb.models.outputs import predictions_of, probabilities_of
from streamb.models.rows import wire_rows
from streamb.registry.artifacts import ArtifactStore
from streamb.serving import BatchPredictor, GatewayApp, GatewayLimits
from streamb.store.blobs import open_blobs
from streamb.traffic import VersionTarget
from tests.serving.asgi_client import AsgiClient
from tests.serving.predictors import table
from tests.zoo import estimators, libraries, networks
from tests.zoo.entry import Entry, Refused

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

FAMILIES = {"estimators": estimators, "networks": networks, "libraries": libraries}
ALL = [(family, entry) for family, module in FAMILIES.items() for entry in module.ENTRIES]
KEY = SigningKey.generate()
ROOT = Path(__file__).parents[2]
RESULTS: dict[str, str] = {}


def known(needs: str) -> bool:
    return not needs or find_spec(needs) is not None


class Zoo:
    """Models of one family, saved, and asked in a process that has made none of them."""

    def __init__(self, family: str, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, tuple[Any, Model | Exception]] = {}
        self.distributions: dict[str, set[str]] = {}
        (folder / "key.pickle").write_bytes(pickle.dumps(KEY.public))
        store = ArtifactStore(
            open_blobs(str(folder.parent / f"{family}-blobs")), signing=KEY, trusted=[KEY.public],
            scratch=folder.parent / f"{family}-scratch", max_bytes=1 << 30,
        )  # fmt: skip
        for number, entry in enumerate(FAMILIES[family].ENTRIES):
            if known(entry.needs):
                try:
                    made = entry.make()
                    self.made[entry.name] = (made, self._stored(store, folder / f"{number:03}", made, entry.example))
                except Exception as error:  # the other models of the family go on
                    self.made[entry.name] = (None, error)
        command = [sys.executable, "-m", "tests.zoo.loading", str(folder)]
        subprocess.run(command, env=child_environment(), cwd=ROOT, timeout=500, check=True)

    def _stored(self, store: ArtifactStore, place: Path, made: Any, rows: Any) -> Model:
        model = Model.wrap(made)
        place.mkdir()
        (place / "rows.pickle").write_bytes(pickle.dumps(rows))
        manifest = model.save(place / "saved")
        self.distributions[place.name] = {name for name, version in manifest.versions.items() if version != "unknown"}
        pack(place / "saved", place / "model.zip")
        artifact = store.ingest(place / "model.zip", may_carry_code=True)
        store.fetch(artifact.blob, place / "artifact")
        return model

    def answer(self, place: str) -> Any:
        return pickle.loads((self.folder / place / "answer.pickle").read_bytes())


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory):
    return cache(lambda family: Zoo(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(params=ALL, ids=lambda pair: pair[1].name)
def case(request, zoo):
    family, entry = request.param
    if not known(entry.needs):
        pytest.skip(f"{entry.needs} is not installed")
    made, model = zoo(family).made[entry.name]
    if isinstance(model, Exception):
        raise model
    return zoo(family), f"{FAMILIES[family].ENTRIES.index(entry):03}", entry, made, model


def count_of(rows: Any) -> int:
    return len(next(iter(rows.values())) if isinstance(rows, dict) else rows)


def expected(entry: Entry, made: Any) -> tuple[np.ndarray, np.ndarray | None]:
    count = count_of(entry.example)
    chances = None if entry.chances is None else probabilities_of(entry.chances(made, entry.example), count)
    return predictions_of(entry.answer(made, entry.example), count), chances


def assert_same(found: Any, wanted: np.ndarray, exact: bool) -> None:
    if wanted.dtype.kind == "O":
        assert found == wanted.tolist() if isinstance(found, list) else found.tolist() == wanted.tolist()
        return
    array = np.asarray(found).astype(wanted.dtype)
    assert array.shape == wanted.shape
    if exact or wanted.dtype.kind != "f":
        np.testing.assert_array_equal(array, wanted)
    else:
        np.testing.assert_allclose(array, wanted, rtol=1e-6)


def test_loaded_in_a_new_process_it_answers_as_its_library(case):
    zoo, place, entry, made, model = case
    found = zoo.answer(place)
    assert isinstance(found, tuple), found
    predictions, chances = expected(entry, made)
    assert_same(found[0], predictions, exact=entry.exact)
    assert (found[1] is None) == (chances is None)
    if chances is not None:
        assert_same(found[1], chances, exact=entry.exact)
    wanted = entry.needs if entry.needs != "skorch" else "torch"  # a net is loaded without skorch
    assert any(name.startswith(wanted) for name in zoo.distributions[place])
    RESULTS[entry.name] = type(model).__name__


async def test_served_over_http_with_the_schema_of_an_example_it_answers_as_its_library(case):
    _, _, entry, made, model = case
    schema = FeatureSchema.learn(entry.example)
    served = Served(model, schema)
    app = GatewayApp(served, GatewayLimits(), SystemClock())
    target = VersionTarget(
        version="1.0.0", app="m-1.0.0", schema=schema.to_json(), task=model.task, classes=model.classes
    )
    assert app.apply(table(target))
    body = {"instances": wire_rows(entry.example), "probabilities": entry.chances is not None}
    response = await AsgiClient(app).post("/v2/models/m/predict", body)
    assert response.status == 200, response.json()
    predictions, chances = expected(entry, made)
    assert_same(response.json()["predictions"], predictions, exact=entry.exact)
    if chances is not None:
        assert_same(response.json()["probabilities"], chances, exact=entry.exact)
    RESULTS[entry.name] = f"{type(model).__name__}, over HTTP too"


class Served:
    """The predictor of a gateway: answers with a model in this process, as a replica does."""

    def __init__(self, model: Model, schema: FeatureSchema) -> None:
        model.schema = schema
        self._model = BatchPredictor(model)

    def replicas(self, target: VersionTarget) -> int:
        return 1

    async def predict(self, target: VersionTarget, batch: Any) -> Any:
        return self._model.run(batch)


REFUSALS = [one for module in FAMILIES.values() for one in module.REFUSED]


@pytest.mark.parametrize("refused", REFUSALS, ids=lambda one: one.name)
def test_what_is_refused_is_told_what_to_do(refused: Refused, tmp_path):
    if not known(refused.needs):
        pytest.skip(f"{refused.needs} is not installed")
    made = refused.make()
    with pytest.raises(StreambError) as caught:
        Model.wrap(made).save(tmp_path / "model")
    assert refused.told in caught.value.message
    RESULTS[refused.name] = f"refused: {caught.value.message}"


def test_there_are_at_least_sixty(capsys):
    with capsys.disabled():
        print(f"\n{len(ALL)} models, {len(REFUSALS)} refusals")
        for name, result in RESULTS.items():
            print(f"  {name}: {result}")
    assert len(ALL) >= 60
