"""Tables as baselines: Parquet and CSV, whole and broken, right and wrong, streamed to disk and bounded."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from streamb.api import tables
from streamb.api.tables import Roles, read_sample, rows_as_features
from streamb.errors import BodyTooLarge, InvalidFeatures, InvalidInput, UnsupportedMediaType
from streamb.models.columns.rows import wire_rows
from streamb.models.schema import Feature, FeatureKind, FeatureSchema
from tests.api.monitored import MODEL, answers, rows
from tests.api.test_deployments import register

BASELINE = "/api/monitoring/baseline"
COLUMNS = dict(zip(("x0", "x1", "x2"), rows(400).T, strict=True))
NO_ROLES = Roles()
MIXED = FeatureSchema(
    (
        Feature("age"),
        Feature("plan", FeatureKind.CATEGORY, optional=True),
        Feature("member", FeatureKind.BOOLEAN),
        Feature("zip", FeatureKind.TEXT),
    ),
    "frame",
)


def as_parquet(**columns) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table({**COLUMNS, **columns}), sink)
    return sink.getvalue()


def form(table: bytes, **metadata) -> dict:
    about = json.dumps({"model_id": MODEL, **metadata})
    return {"metadata": (None, about, "application/json"), "table": ("t", table, "application/octet-stream")}


@pytest.fixture
async def churn(client, archive):
    await register(client, archive)


class TestUploads:
    async def test_parquet_with_everything_in_it(self, client, churn):
        truth = answers(rows(400))
        more = {"p": truth, "y": truth, "c0": np.full(400, 0.3), "c1": np.full(400, 0.7)}
        roles = {"predictions": "p", "labels": "y", "probabilities": ["c0", "c1"]}
        answer = await client.post(BASELINE, files=form(as_parquet(**more), **roles))
        assert answer.status_code == 201, answer.text
        assert answer.json()["columns"] == ["x0", "x1", "x2", "prediction"]
        assert answer.json()["rows"] == 400

    async def test_csv_in_another_order(self, client, churn, backend):
        lines = ["x2,x0,x1", *(f"{row[2]},{row[0]},{row[1]}" for row in rows(300))]
        answer = await client.post(BASELINE, files=form("\n".join(lines).encode(), version="latest"))
        assert answer.json()["columns"] == ["x0", "x1", "x2"]
        assert not any(backend.settings.state_dir.glob("scratch/upload-*"))

    async def test_wrong_columns_are_all_named(self, client, churn):
        table = b"x0,x1,age\n1,2,3\n"
        answer = await client.post(BASELINE, files=form(table, labels="truth"))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_features")
        problems = answer.json()["problems"]
        assert "missing column 'truth', which is named in the metadata" in problems
        assert "missing column 'x2'" in problems
        assert any("unknown column 'age'" in problem for problem in problems)

    @pytest.mark.parametrize(
        ("files", "status"),
        [
            (form(b"\x00\x01\x02"), 415),
            (form(b"PK\x03\x04\x00zip"), 415),
            (form(b""), 415),
            (form(b"PAR1 and nothing more"), 422),
            (form(b"x0,x1,x2\n1,2\n"), 422),
            (form(b"x0,x1,x2\n"), 422),
            (form(b"x0,x1,x2\n1,2,tall\n"), 422),
            (form(b"x0,x1,x2\n1,2,3\n", predicted="x"), 422),
            ({"metadata": (None, "{}")}, 422),
        ],
    )
    async def test_refused(self, client, churn, files, status):
        answer = await client.post(BASELINE, files=files)
        assert answer.status_code == status, answer.text
        assert (await client.get(f"/api/monitoring/{MODEL}/baselines")).json()["items"] == []

    async def test_too_long_for_json_is_not_too_long_for_a_file(self, tmp_path, archive, monkeypatch):
        from tests.api.conftest import client_of
        from tests.api.fakes import InProcess

        small = InProcess(tmp_path, max_body_bytes=2_000)
        async with client_of(small) as client:
            await register(client, archive)
            assert (await client.post(BASELINE, files=form(as_parquet()))).status_code == 201
            long = {"model_id": MODEL, "instances": rows(400).tolist()}
            assert (await client.post(BASELINE, json=long)).status_code == 413
            monkeypatch.setattr("streamb.api.baselines.MAX_TABLE_BYTES", 1_000)
            answer = await client.post(BASELINE, files=form(as_parquet()))
            assert (answer.status_code, answer.json()["limit_bytes"]) == (413, 1_000)
            monkeypatch.setattr(tables, "MOST_CELLS", 100)
            for table in (as_parquet(), b"x0,x1,x2\n" + b"1,2,3\n" * 100):
                monkeypatch.setattr("streamb.api.baselines.MAX_TABLE_BYTES", 1 << 20)
                assert (await client.post(BASELINE, files=form(table))).status_code == 413
        small.close()


class TestReading:
    def read(self, tmp_path, text: str, schema=MIXED, roles=NO_ROLES):
        path = tmp_path / "table"
        path.write_text(text)
        return read_sample(path, schema, roles)

    def test_texts_stay_what_they_are(self, tmp_path):
        found = self.read(tmp_path, "zip,age,plan,member\n0123,1,NA,true\n,,,\nNA,3,gold,false\n").features
        assert list(found) == list(MIXED.names)
        assert found["zip"].tolist() == ["0123", "", "NA"]
        assert found["plan"].tolist() == ["NA", None, "gold"]
        np.testing.assert_array_equal(found["age"], [1, np.nan, 3])
        np.testing.assert_array_equal(found["member"], [1, np.nan, 0])

    def test_every_wrong_kind_is_named(self, tmp_path):
        path = tmp_path / "table"
        columns = {"age": ["old", "young"], "plan": [1, 2], "member": [True, None], "zip": ["a", None]}
        parquet.write_table(pa.table(columns), path)
        with pytest.raises(InvalidFeatures) as caught:
            read_sample(path, MIXED, Roles())
        assert caught.value.details["problems"] == [
            "column 'age': expected numbers, got 'old'",
            "column 'plan': expected strings, got '1'",
        ]

    def test_parquet_of_many_types(self, tmp_path):
        path = tmp_path / "table"
        columns = {
            "age": pa.array([None, None], pa.null()),
            "plan": pa.array(["a", "b"]).dictionary_encode(),
            "member": pa.array([True, False]),
            "zip": pa.array(["x", "y"], pa.large_string()),
        }
        parquet.write_table(pa.table(columns), path)
        found = read_sample(path, MIXED, Roles()).features
        assert found["plan"].tolist() == ["a", "b"]
        assert np.isnan(found["age"]).all()

    def test_of_an_open_schema_all_columns_are_features(self, tmp_path):
        found = self.read(
            tmp_path, "a,day,p,q\n1,2026-01-01,x,0.5\n2,2026-01-02,y,0.25\n", FeatureSchema.open(), Roles(("p", "q"))
        )
        assert found.features["day"].tolist() == ["2026-01-01", "2026-01-02"]
        assert found.predictions.tolist() == [["x", 0.5], ["y", 0.25]]

    def test_texts_alone(self, tmp_path):
        found = self.read(tmp_path, "text,label\nhello world,1\nbye,0\n", FeatureSchema.texts(), Roles(labels="label"))
        assert found.features == ["hello world", "bye"]
        assert found.labels.tolist() == [1, 0]
        assert rows_as_features(["hello"], FeatureSchema.texts()) == ["hello"]

    def test_twice_the_same_name(self, tmp_path):
        with pytest.raises(InvalidFeatures, match="'age' occurs twice"):
            self.read(tmp_path, "age,age\n1,2\n", FeatureSchema.open())

    def test_what_is_neither(self, tmp_path):
        with pytest.raises(UnsupportedMediaType):
            self.read(tmp_path, "   ")
        with pytest.raises(InvalidInput, match="no rows"):
            self.read(tmp_path, "age\n", FeatureSchema.open())

    def test_a_small_file_that_unpacks_to_much(self, tmp_path, monkeypatch):
        path = tmp_path / "table"
        parquet.write_table(pa.table({"a": np.zeros(100_000)}), path)
        monkeypatch.setattr(tables, "_MOST_UNPACKED_BYTES", 50)
        with pytest.raises(BodyTooLarge, match="unpacks"):
            read_sample(path, FeatureSchema.open(), Roles())


KINDS = pd.DataFrame(
    {
        "when": pd.date_range("2024-01-01", periods=6, freq="h"),
        "sold": pd.date_range("2024-01-01", periods=6, freq="D", tz="Europe/Berlin").as_unit("s"),
        "level": pd.Categorical([3, 1, 2] * 2),
        "count": pd.array([1, None, 3] * 2, "Int16"),
        "mixed": pd.Series([1.5, 2.5] * 3),
        "city": ["Oslo", "Lima"] * 3,
    }
)


def as_counted(columns):
    return {name: [None if value != value else value for value in list(values)] for name, values in columns.items()}


def test_rows_and_tables_of_every_kind_give_the_same_columns(tmp_path):
    schema = FeatureSchema.learn(KINDS)
    by_rows = rows_as_features(wire_rows(KINDS), schema)
    for write in (
        lambda path: KINDS.to_parquet(path),
        lambda path: KINDS.assign(when=KINDS["when"].astype("datetime64[ns]")).to_parquet(path),
        lambda path: pd.DataFrame(wire_rows(KINDS)).to_csv(path, index=False),
    ):
        write(tmp_path / "table")
        by_table = read_sample(tmp_path / "table", schema, NO_ROLES).features
        assert as_counted(by_table) == as_counted(by_rows)


def test_a_datetime_that_is_none_is_told_by_its_column(tmp_path):
    (tmp_path / "table").write_text("when\n2024-01-01T00:00:00\nyesterday\n")
    schema = FeatureSchema.learn(KINDS[["when"]])
    with pytest.raises(InvalidFeatures, match=r"column 'when': expected a date and time .* in every row"):
        read_sample(tmp_path / "table", schema, NO_ROLES)


@pytest.mark.parametrize(
    ("data", "column"),
    [
        (np.arange(24.0).reshape(2, 3, 2, 2), [5.5, 17.5]),
        ({"a": np.array([[1, 3], [5, 7]]), "b": ["x", "y"]}, [2.0, 6.0]),
        ([[1, 2], [3]], [2.0, 1.0]),
        (np.array([[["a"]], [["b"]]]), [1.0, 1.0]),
    ],
)
def test_tensors_and_lists_are_counted_by_one_number(data, column):
    features = rows_as_features(wire_rows(data), FeatureSchema.learn(data))
    assert list(next(iter(features.values()))) == column
