"""What strange clients send: each gets an answer that says what is wrong, without the insides of a library."""

from __future__ import annotations

import json

import pytest

from tests.conformance.asking import body, tensor
from tests.conformance.talking import ROW, connected, read

BAD_JSON = {
    "not a number": b'{"instances": [[NaN, 2, 3]]}',
    "infinity": b'{"instances": [[1e400, 2, 3]]}',
    "a number of 400 digits": b'{"instances": [[1%s, 2, 3]]}' % (b"0" * 400),
    "deep lists": b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000,
    "a byte order mark": b"\xef\xbb\xbf" + ROW,
    "UTF-16": ROW.decode().encode("utf-16"),
    "half a surrogate": b'{"instances": [["\\ud800", 2, 3]]}',
    "half a surrogate as a key": b'{"instances": [{"\\ud800": 1}]}',
    "half a surrogate as a user": b'{"instances": [[1, 2, 3]], "user_id": "\\ud800"}',
    "bytes that are no UTF-8": b'{"instances": [["\xff", 2, 3]]}',
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "rows that are null": b'{"instances": null}',
    "no rows": b'{"instances": []}',
    "more after the end": ROW + b"x",
}
ODD_TENSORS = {
    "a negative length": tensor([1, 2, 3]) | {"shape": [-1, 3]},
    "two negative lengths": tensor([1, 2, 3]) | {"shape": [-1, -3]},
    "more elements than 64 bits count": tensor([]) | {"shape": [2**32, 2**32]},
    "a product that is 0 in 64 bits": tensor([]) | {"shape": [2**62, 4]},
    "a length of 30 digits": tensor([1]) | {"shape": [10**30]},
    "no rows": tensor([]) | {"shape": [0, 3]},
    "70 dimensions": tensor([1.0]) | {"shape": [1] * 70},
    "a length that is a text": tensor([1, 2, 3]) | {"shape": ["1", 3]},
    "a length that is a fraction": tensor([1, 2, 3]) | {"shape": [1.5, 2]},
    "a length that is true": tensor([1, 2, 3]) | {"shape": [True, 3]},
    "no shape": tensor([1, 2, 3]) | {"shape": None},
    "no dimensions": tensor([1]) | {"shape": []},
    "data that are null": tensor([1, 2, 3]) | {"data": None, "shape": [1, 3]},
    "data that are a text": tensor([1, 2, 3]) | {"data": "abc", "shape": [1, 3]},
    "data that are an object": tensor([1, 2, 3]) | {"data": {"a": 1}, "shape": [1, 3]},
    "data of 900 levels": tensor([1.0]) | {"data": json.loads("[" * 900 + "]" * 900), "shape": [1, 3]},
    "ragged data": tensor([1, 2, 3]) | {"data": [[1, 2], [3]], "shape": [1, 3]},
    "a name that is a number": tensor([1, 2, 3], 5) | {"shape": [1, 3]},
    "parameters that are a list": tensor([1, 2, 3], parameters=[]) | {"shape": [1, 3]},
    "a size and no bytes": tensor([1, 2, 3], parameters={"binary_data_size": 24}) | {"shape": [1, 3]},
    "a size that is true": tensor([1, 2, 3], parameters={"binary_data_size": True}) | {"shape": [1, 3]},
}
LONG = "x" * 200_000
LONG_WORDS = {
    "a datatype": body(tensor([1], datatype=LONG)),
    "the name of an input": body(tensor([[1, 2]], LONG)),
    "the name of an output": body(tensor([[1, 2, 3]]), outputs=[{"name": LONG}]),
    "a shape": body(tensor([1]) | {"shape": [1] * 100_000}),
    "a shape of texts": body(tensor([1]) | {"shape": [LONG]}),
    "twice the same name": body(tensor([[1, 2, 3]], LONG), tensor([[1, 2, 3]], LONG)),
    "shapes that differ": body(*(tensor([[1]] * (n % 2 + 1), f"{n}{'x' * 300}") for n in range(500))),
    "a size": body(tensor([1], parameters={"binary_data_size": LONG})),
}


@pytest.mark.parametrize("what", BAD_JSON)
@pytest.mark.parametrize("route", ["predict", "infer", "feedback"])
@pytest.mark.parametrize("model", ["sum", "reveal"])
def test_odd_json_is_refused(http, model, route, what):
    response = http.post(f"/v2/models/{model}/{route}", content=BAD_JSON[what])
    assert response.status_code in (400, 413, 422)
    assert said(response)


@pytest.mark.parametrize("what", ODD_TENSORS)
@pytest.mark.parametrize("model", ["sum", "echo"])
def test_odd_tensors_are_refused(http, model, what):
    response = http.post(f"/v2/models/{model}/infer", json=body(ODD_TENSORS[what]))
    assert response.status_code in (400, 422), response.text
    assert "input" in said(response) or "rows in one request" in said(response)


@pytest.mark.parametrize("what", LONG_WORDS)
def test_what_is_refused_is_not_repeated_whole(http, what):
    response = http.post("/v2/models/sum/infer", json=LONG_WORDS[what])
    assert response.status_code in (400, 422)
    assert said(response)
    assert len(response.content) < 10_000


def test_columns_of_any_length_are_not_repeated_whole(http):
    for rows in ([{LONG: 1}], [{f"{n}{'x' * 5000}": 1 for n in range(500)}], [[LONG, LONG, LONG]]):
        response = http.post("/v2/models/sum/predict", json={"instances": rows})
        assert response.status_code == 422
        assert said(response)
        assert len(response.content) < 200_000


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
@pytest.mark.parametrize(
    ("path", "allowed"), [("/v2/models/sum/predict", "POST"), ("/v2/models/sum", "GET, HEAD"), ("/v2", "GET, HEAD")]
)
def test_other_methods_say_which_are_allowed(http, method, path, allowed):
    response = http.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    assert said(response)


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("content-type", "text/plain", 415),
        ("content-type", "multipart/form-data; boundary=x", 415),
        ("content-type", "application/json; charset=utf-16", 415),
        ("content-type", "application/" + "x" * 5000, 415),
        ("content-type", "APPLICATION/JSON; charset=UTF-8", 200),
        ("content-encoding", "br", 415),
        ("content-encoding", "x" * 5000, 415),
        ("x-request-id", "x" * 5000, 200),
        ("x-user-id", "u" * 5000, 200),
        ("x-model-version", "9" * 5000, 404),
        ("x-request-timeout-ms", "0", 400),
        ("x-request-timeout-ms", "-5", 400),
        ("x-request-timeout-ms", "1.5", 400),
        ("x-request-timeout-ms", "9" * 5000, 400),
        ("authorization", "Bearer " + "k" * 10_000, 401),
        ("x-other", "y" * 50_000, 200),
        ("upgrade", "h2c", 200),
        ("expect", "something", 200),
    ],
)
def test_odd_headers(http, header, value, status):
    response = http.post("/v2/models/sum/predict", content=ROW, headers={header: value, "connection": "upgrade"})
    assert response.status_code == status, response.text
    assert len(response.content) < 5000
    assert len(response.headers["x-request-id"]) <= 128


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/sum%2fpredict", 400),
        ("/v2/models/sum%5cpredict", 400),
        ("/v2/models/%2e%2e/models/sum/predict", 404),
        ("/v2/models/sum/versions/1.0.0%00/predict", 400),
        ("/v2/models/su%6d/predict", 200),
        ("/v2/models/%ff%fe/predict", 404),
        ("/v2/models/sum/versions/%e2%98%83/predict", 404),
        ("/v2/models/sum/versions//predict", 404),
        ("/v2//models/sum/predict", 404),
        ("/v2/models/sum/predict/", 404),
        ("/v2/models/SUM/predict", 404),
        ("/v2/models/" + "x" * 10_000 + "/predict", 404),
        ("/v2/models/sum/predict?x=1", 422),
        ("/v2/models/sum/predict?probabilities=maybe", 400),
        ("/v2/models/sum/predict?" + "a=1&" * 5000, 422),
    ],
)
def test_odd_paths(address, path, status):
    with connected(address) as talk:
        talk.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(ROW)) + ROW)
        found, document = read(talk.makefile("rb"))
    assert found == status, document
    assert len(str(document)) < 1000


@pytest.mark.parametrize(
    "head",
    [
        b"GARBAGE\r\n\r\n",
        b"FOO / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\na b: c\r\n\r\n",
        b"GET /v2/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v2/models/sum/predict HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v2/models/sum/predict HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v2/models/sum/predict HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v2/models/sum/predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_in_the_usual_form(address, head):
    with connected(address) as talk:
        talk.sendall(head)
        status, document = read(talk.makefile("rb"))
    assert status in (400, 405)
    assert {"error", "code", "request_id"} <= document.keys()


def said(response) -> str:
    """The sentence of an error: in words for people, without the insides of a library."""
    sentence = response.json()["error"]
    assert 10 < len(sentence) <= 4001
    assert "Traceback" not in sentence
    return sentence
