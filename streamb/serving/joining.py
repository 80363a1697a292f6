"""Several requests into one batch, and the batch's reply into each request's part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from streamb.errors import ModelFailed, StreambError
from streamb.serving.answer import Answer
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.lane import Call, Waiting


def join(requests: Sequence[Waiting]) -> Batch:
    """The rows of several requests, one below the other."""
    probabilities = any(waiting.probabilities for waiting in requests)
    if len(requests) == 1:
        return Batch(requests[0].rows, (requests[0].row_count,), probabilities)
    counts = tuple(waiting.row_count for waiting in requests)
    if requests[0].shape is not None:
        return Batch(np.concatenate([waiting.rows for waiting in requests]), counts, probabilities)
    rows: list[Any] = []
    for waiting in requests:
        rows.extend(waiting.rows)
    return Batch(rows, counts, probabilities)


def split_reply(call: Call, reply: BatchReply) -> list[Answer | StreambError]:
    """Each request's part of a reply, or its error, in order.

    Raises:
        ModelFailed: the reply does not have one prediction for each row.
    """
    errors = reply.errors
    counts = [0 if index in errors else waiting.row_count for index, waiting in enumerate(call.requests)]
    wanted = sum(counts)
    probabilities = reply.probabilities
    for part in (reply.predictions, probabilities):
        if part is not None and len(part) != wanted:
            raise ModelFailed(f"version {call.lane.target.version} answered {len(part)} predictions to {wanted} rows")
    answers: list[Answer | StreambError] = []
    for index, (waiting, end) in enumerate(zip(call.requests, accumulate(counts), strict=True)):
        if index in errors:
            answers.append(errors[index])
            continue
        start = end - waiting.row_count
        asked = probabilities if waiting.probabilities else None
        answers.append(Answer(reply.predictions[start:end], None if asked is None else asked[start:end]))
    return answers
