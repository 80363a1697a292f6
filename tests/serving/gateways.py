"""What tests of the gateway share: requests, and what to look for in replies and counts."""

import asyncio

PREDICT = "/v2/models/m/predict"
ONE_ROW = {"instances": [[1, 2]]}


def user_of(app, version, model="m"):
    """A user whom the split gives this version; requests that name a version are no evidence."""
    route = app.table.models[model]
    return next(user for user in map("u{}".format, range(1000)) if route.split.choose(user, salt=route.salt) == version)


async def one_by_one(client, count, body=lambda number: ONE_ROW):
    """Requests under way that came in turns of the event loop of their own, so that they do not go together."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(client.post(PREDICT, body(number))))
        await asyncio.sleep(0.002)
    return tasks


def counts(app, version="1.0.0"):
    (found,) = [one for one in app.snapshot() if one.version == version]
    return found


def error_of(response, status, code):
    document = response.json()
    assert (response.status, document["code"]) == (status, code), document
    assert len(document["error"]) > 10
    assert document["request_id"] == response.headers["x-request-id"]
    return document
