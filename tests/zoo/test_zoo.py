"""Models of every kind, from training to an answer over HTTP; and those that are refused, with what they are told.

Each is registered with an example as the platform does it (saved, tried, stored), loaded in a process that has made no
model, and served by a gateway; the answers must be those of its library, bit for bit. `make soak` prints the table.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from streamb.models import Model, load_artifact, verify_artifact
from streamb.models.columns.rows import wire_rows
from streamb.models.example import Example
from streamb.models.named_outputs import row_values
from streamb.models.outputs import predictions_of, probabilities_of
from streamb.registry.artifacts import ArtifactStore
from streamb.registry.trial import TrialState
from streamb.registry.version import Artifact
from streamb.sdk.example import write_archive
from streamb.serving import BatchPredictor, GatewayApp, GatewayLimits
from streamb.store.blobs import open_blobs
from streamb.traffic import Batching, VersionTarget
from streamb.trials.process import TrialProcesses
from tests.serving.asgi_client import AsgiClient
from tests.serving.predictors import table
from tests.zoo import estimators, libraries, networks
from tests.zoo.entry import Entry, Refused

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]

FAMILIES = {"estimators": estimators, "networks": networks, "libraries": libraries}
ALL = [(family, entry) for family, module in FAMILIES.items() for entry in module.ENTRIES]
KEY = SigningKey.generate()
ROOT = Path(__file__).parents[2]
RESULTS: dict[str, str] = {}


def known(needs: str) -> bool:
    return not needs or find_spec(needs) is not None


@dataclass(frozen=True)
class Kept:
    """One model as it was made, what the platform stored of it, and the stored model as a replica loads it."""

    made: Any
    artifact: Artifact
    model: Model
    folder: Path


class Zoo:
    """The models of one family, registered with an example, and then asked in a process that has made none of them."""

    def __init__(self, family: str, folder: Path) -> None:
        (folder / "key.pickle").write_bytes(pickle.dumps(KEY.public))
        store = ArtifactStore(
            open_blobs(str(folder.parent / f"{family}-blobs")), signing=KEY, trusted=[KEY.public],
            scratch=folder.parent / f"{family}-scratch", max_bytes=1 << 30,
            trier=TrialProcesses([KEY.public], timeout_s=120),
        )  # fmt: skip
        entries = [entry for entry in FAMILIES[family].ENTRIES if known(entry.needs)]
        made = [self._made(entry, folder / f"{number:03}") for number, entry in enumerate(entries)]
        with ThreadPoolExecutor(2) as pool:  # a trial is a process of its own
            kept = pool.map(lambda one: one if isinstance(one, Exception) else self._registered(store, *one), made)
            self.kept = {entry.name: one for entry, one in zip(entries, kept, strict=True)}
        command = [sys.executable, "-m", "tests.zoo.loading", str(folder)]
        subprocess.run(command, env=child_environment(), cwd=ROOT, timeout=500, check=True)

    def _made(self, entry: Entry, place: Path) -> tuple[Any, Path, dict[str, Any] | None] | Exception:
        try:
            made = entry.make()
            place.mkdir()
            (place / "rows.pickle").write_bytes(pickle.dumps(entry.example))
            _, archive, example = write_archive(made, place, example=entry.example, schema=None, keep=True)
        except Exception as error:  # the other models of the family go on
            return error
        return made, archive, example

    def _registered(
        self, store: ArtifactStore, made: Any, archive: Path, example: dict[str, Any] | None
    ) -> Kept | Exception:
        try:
            artifact = store.ingest(archive, may_carry_code=True, example=Example.from_json(example))
            store.fetch(artifact.blob, archive.parent / "stored")
            return Kept(made, artifact, load_artifact(archive.parent / "stored", trusted=[KEY.public]), archive.parent)
        except Exception as error:
            return error


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory):
    return cache(lambda family: Zoo(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(params=ALL, ids=lambda pair: pair[1].name)
def case(request, zoo) -> tuple[Entry, Kept]:
    family, entry = request.param
    if not known(entry.needs):
        pytest.skip(f"{entry.needs} is not installed")
    kept = zoo(family).kept[entry.name]
    if isinstance(kept, Exception):
        raise kept
    return entry, kept


def count_of(rows: Any) -> int:
    return len(next(iter(rows.values())) if isinstance(rows, dict) else rows)


def expected(entry: Entry, made: Any) -> tuple[np.ndarray, np.ndarray | None]:
    count = count_of(entry.example)
    chances = None if entry.chances is None else probabilities_of(entry.chances(made, entry.example), count)
    return predictions_of(entry.answer(made, entry.example), count), chances


def assert_same(found: Any, wanted: np.ndarray, exact: bool) -> None:
    if wanted.dtype.names is not None:
        assert (found if isinstance(found, list) else row_values(found)) == row_values(wanted)
        return
    if wanted.dtype.kind == "O":
        assert found == wanted.tolist() if isinstance(found, list) else found.tolist() == wanted.tolist()
        return
    array = np.asarray(found).astype(wanted.dtype)
    assert array.shape == wanted.shape
    if exact or wanted.dtype.kind != "f":
        np.testing.assert_array_equal(array, wanted)
    else:
        np.testing.assert_allclose(array, wanted, rtol=1e-6)


def test_its_trial_passes_and_its_manifest_names_its_library(case):
    entry, kept = case
    assert kept.artifact.trial.state is TrialState.PASSED
    assert kept.artifact.trial.rows == count_of(entry.example)
    assert kept.artifact.trial.deterministic
    wanted = entry.needs if entry.needs != "skorch" else "torch"  # a net is loaded without skorch
    versions = verify_artifact(kept.folder / "stored").versions
    assert any(name.startswith(wanted) and version != "unknown" for name, version in versions.items())


def test_loaded_in_a_new_process_it_answers_as_its_library(case):
    entry, kept = case
    found = pickle.loads((kept.folder / "answer.pickle").read_bytes())
    assert isinstance(found, tuple), found
    predictions, chances = expected(entry, kept.made)
    assert_same(found[0], predictions, exact=entry.exact)
    assert (found[1] is None) == (chances is None)
    if chances is not None:
        assert_same(found[1], chances, exact=entry.exact)


async def test_served_over_http_it_answers_as_its_library(case):
    entry, kept = case
    app, artifact = GatewayApp(Served(kept.model), GatewayLimits(), SystemClock()), kept.artifact
    target = VersionTarget(
        version="1.0.0", app="m-1.0.0", schema=artifact.schema, task=artifact.task, outputs=artifact.outputs,
        classes=artifact.classes, batching=Batching(join=artifact.trial.row_wise is not False),
    )  # fmt: skip
    assert app.apply(table(target))
    body = {"instances": wire_rows(entry.example), "probabilities": entry.chances is not None}
    response = await AsgiClient(app).post("/v2/models/m/predict", body)
    assert response.status == 200, response.json()
    predictions, chances = expected(entry, kept.made)
    assert_same(response.json()["predictions"], predictions, exact=entry.exact)
    if chances is not None:
        assert_same(response.json()["probabilities"], chances, exact=entry.exact)
    code = "with code" if artifact.carries_code else "no code"
    RESULTS[entry.name] = f"{kept.model.framework}, {code}, row-wise: {artifact.trial.row_wise}"


class Served:
    """The predictor of a gateway: answers with a model in this process, as a replica does."""

    def __init__(self, model: Model) -> None:
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
