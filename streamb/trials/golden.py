"""The golden rows of a version: rows with the answers that its trial saw, which every replica must reproduce."""

from __future__ import annotations

from streamb.errors import StreambError, TrialFailed
from streamb.models.example import Example
from streamb.serving.replica import Served
from streamb.trials.asking import ask


def check_golden(model: Served, golden: Example) -> None:
    """Ask the model for its golden rows.

    Raises:
        TrialFailed: it raises, or answers otherwise than in its trial.
    """
    try:
        answers = ask(model, golden.instances)
    except StreambError as error:
        raise TrialFailed(f"the version cannot answer its golden rows here: {error.message}") from error
    found = answers.differs(golden.predictions, golden.probabilities)
    if found is not None:
        what, difference = found
        raise TrialFailed(
            f"the version does not answer its golden rows here as in its trial ({what} of {difference}); compare the "
            "libraries of this machine with those of the one where it was tried"
        )
