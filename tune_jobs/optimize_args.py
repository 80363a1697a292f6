"""What the search job may be told, and what of it a study remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import model_validator

from streamb.sdk.job_options import SearchOptions
from tune_jobs.arguments import validated

ON_RESUME: Final = frozenset(
    {"trials", "deadline_s", "workers", "executor", "model_id", "version", "output", "state_dir", "url", "resume"}
)
"""What may be said again when a study goes on; everything else is as it was asked for."""


class OptimizeArgs(SearchOptions):
    """The options of a search that can be meant together."""

    @model_validator(mode="after")
    def _one_beginning(self) -> OptimizeArgs:
        if self.resume is not None:
            others = sorted(self.model_fields_set - ON_RESUME)
            if others:
                shown = ", ".join(f"--{name.replace('_', '-')}" for name in others)
                raise ValueError(f"--resume goes on as it was asked for: leave out {shown}")
            return self
        if self.csv is None or self.target is None:
            raise ValueError("--csv and --target say what to learn from; --resume goes on with a study")
        if (self.model_id is None) != (self.version is None):
            raise ValueError("--model-id and --version go together: the best model is registered under both")
        if self.deploy and self.model_id is None:
            raise ValueError("--deploy needs --model-id and --version")
        if self.group is not None and self.order_by is not None:
            raise ValueError("--group and --order-by exclude each other")
        return self

    def remembered(self) -> dict[str, Any]:
        """What a study keeps, JSON-ready; files by their whole path, so that it may go on from another folder."""
        told = self.model_dump(mode="json", exclude={"resume", "study", "state_dir", "url"}, exclude_defaults=True)
        for name in ("csv", "space", "output"):
            if told.get(name):
                told[name] = str(Path(told[name]).absolute())
        return told

    def going_on(self, remembered: dict[str, Any], study: str) -> OptimizeArgs:
        """The arguments of a study that goes on: as it was asked for, with what is said now on top.

        Raises:
            WrongArgument: together they are not allowed, such as a folder to write to that is there by now.
        """
        now = {name: getattr(self, name) for name in self.model_fields_set & ON_RESUME - {"resume"}}
        return validated(OptimizeArgs, {**remembered, "study": study, **now})
