"""The reply of a prediction in docs/api.md is the one that the sample model gives."""

import json

import numpy as np
import pandas as pd
import pytest

from streamb.models import Model
from streamb.sdk.sample import SAMPLE_ID, SAMPLE_ROW, train_sample
from tests.documented import ROOT, blocks
from tests.serving.answering import learned, served


@pytest.fixture(scope="module")
def model():
    return Model.wrap(train_sample()[0])


def documented(mark):
    (found,) = [json.loads(text) for text in blocks(ROOT / "docs/api.md", "json") if mark in text]
    return found


async def sent(model, body):
    known = learned(model, pd.DataFrame([SAMPLE_ROW]), probabilities=True)
    schema = model.schema.to_json()
    async with served(model, model_id=SAMPLE_ID, schema=schema, task=model.task, **known) as (client, _):
        reply = await client.post(f"/v2/models/{SAMPLE_ID}/predict", body)
    assert reply.status == 200, reply.body
    return reply.json()


async def test_the_documented_reply_is_the_one_sent(model):
    told = documented('"classes": [')
    reply = await sent(model, documented('"probabilities": true'))
    assert list(reply) == list(told), "the fields, in their order"
    np.testing.assert_allclose(reply.pop("probabilities"), told.pop("probabilities"), atol=0.005)
    assert reply.pop("request_id")
    assert told.pop("request_id")
    assert reply == told


async def test_without_probabilities_two_fields_are_left_out(model):
    told = list(documented('"classes": ['))
    request = documented('"probabilities": true')
    del request["probabilities"]
    assert list(await sent(model, request)) == [name for name in told if name not in ("probabilities", "classes")]
