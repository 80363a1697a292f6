"""What may come in about monitoring and alerts: baselines, tests of channels."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from fastapi import Path, Query
from pydantic import Field, model_validator

from streamb.api.bodies import Key, Name, Number, Reference
from streamb.options import Share, Strict, WindowMinutes

OfWindow = Annotated[
    WindowMinutes | None, Query(description="Length of the window that is compared; by default the newest.")
]
OfVersion = Annotated[
    Reference | None, Query(description="A version, an alias, or `latest`; by default the one that is asked most.")
]
OfModel = Annotated[Name | None, Query(description="Only those of this model.")]
OfState = Annotated[Literal["pending", "firing", "resolved"] | None, Query(description="Only those in this state.")]
OfSeverity = Annotated[
    Literal["low", "medium", "high", "critical"] | None, Query(description="Only those of this severity.")
]
BASELINE_SCHEMA: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/BaselineBody"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["table", "metadata"],
                    "properties": {
                        "table": {
                            "type": "string",
                            "format": "binary",
                            "description": "Parquet, or CSV in UTF-8 with the column names on top.",
                        },
                        "metadata": {"$ref": "#/components/schemas/BaselineForm"},
                    },
                },
                "encoding": {
                    "table": {"contentType": "application/vnd.apache.parquet, text/csv"},
                    "metadata": {"contentType": "application/json"},
                },
            },
        },
    }
}

SilenceId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="The silence.")]
Column = Annotated[Key | None, Field(description="Name of that column, where the table has one.")]


class BaselineBody(Strict):
    """What later traffic of a version is compared with: rows, or what was asked of it lately."""

    model_id: Name
    version: Reference | None = Field(default=None, description="By default the version that serves.")
    instances: Annotated[list[Any], Field(min_length=1)] | None = Field(
        default=None, description="Rows: lists in the order of the features, or objects by name."
    )
    predictions: list[Any] | None = Field(default=None, description="What the version predicts for them, one each.")
    labels: list[Any] | None = Field(default=None, description="The truth, one each.")
    confidence: list[Share] | None = Field(default=None, description="Of the predictions, 0 to 1, one each.")
    probabilities: list[list[Number]] | None = Field(default=None, description="Of the classes, a list for each row.")
    from_window_minutes: WindowMinutes | None = Field(
        default=None, description="Instead of rows: the live traffic of the last minutes becomes the baseline."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.instances is None) == (self.from_window_minutes is None):
            raise ValueError("give either `instances` or `from_window_minutes`")
        beside = ("predictions", "labels", "confidence", "probabilities")
        if self.instances is None and any(getattr(self, name) is not None for name in beside):
            raise ValueError(f"{', '.join(beside)} belong to `instances`")
        return self


class BaselineForm(Strict):
    """The `metadata` part of an uploaded table; every column that is not named here is a feature."""

    model_id: Name
    version: Reference | None = Field(default=None, description="By default the version that serves.")
    predictions: Key | Annotated[list[Key], Field(max_length=1_000)] | None = Field(
        default=None, description="Name of that column, or names where the version has several outputs."
    )
    labels: Column = None
    confidence: Column = None
    probabilities: Annotated[list[Key], Field(max_length=1_000)] = Field(
        default_factory=list, description="Names of the columns of the classes' probabilities."
    )

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of predictions."""
        if self.predictions is None:
            return ()
        return (self.predictions,) if isinstance(self.predictions, str) else tuple(self.predictions)


class ChannelBody(Strict):
    """A channel to try."""

    channel: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
