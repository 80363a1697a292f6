"""An adapter as a user writes it in a package of their own, with the library that it is for."""

from __future__ import annotations

import json

import numpy as np

from streamb.models import Model


class Line:
    """What some library makes: it predicts by another name than streamb's."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forecast(self, values):
        return [self.slope * value for value in values]


class SteeperLine(Line):
    pass


class LineModel(Model):
    framework = "lines"
    takes = (f"{__name__}.Line",)
    file_suffixes = (".line",)

    def __init__(self, line, *, schema=None, name=None, task=None):
        self.line = line
        self.schema, self.name, self.task = schema, name or "line", task or "regression"

    @classmethod
    def from_object(cls, obj, *, schema, name, task, classes):
        line = obj if isinstance(obj, Line) else Line(json.loads(obj.read_text()))
        return cls(line, schema=schema, name=name, task=task)

    def fit(self, X, y=None):
        self.line = Line(float(np.mean(np.asarray(y) / np.asarray(X)[:, 0])))
        return self

    def predict(self, X):
        return np.asarray(self.line.forecast(np.asarray(X)[:, 0]))

    def write_payload(self, folder):
        (folder / "slope.json").write_text(json.dumps(self.line.slope))
        return False

    @classmethod
    def read_payload(cls, folder, manifest, *, may_run_code):
        return cls(Line(json.loads((folder / "slope.json").read_text())))
