"""Requests that are mutated along the OpenAPI document: whatever comes, the server goes on."""

import json
import re
from http import HTTPStatus
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrnn.model import image_encoder
from mrnn.retrieval.search import PhotoIndex
from tests.cli.test_serve import served
from tests.server.test_captions import png

PHOTO = png()
VALUES = st.one_of(
    st.integers(-3, 40).map(str), st.floats().map(str), st.text(max_size=30),
    st.sampled_from(["", "red", "a wall", "self", "nan", "1e999", "9" * 500, "*", "%00", "../.."]),
)  # fmt: skip
CONTENTS = st.one_of(
    st.just(PHOTO), st.binary(max_size=200),
    st.tuples(st.integers(0, len(PHOTO) - 1), st.integers(0, 255)).map(
        lambda change: PHOTO[: change[0]] + bytes([change[1]]) + PHOTO[change[0] + 1 :]
    ),
    st.integers(0, len(PHOTO)).map(lambda end: PHOTO[:end]),
)  # fmt: skip
TYPES = st.sampled_from(
    ["image/png", "application/octet-stream", "multipart/form-data",
     "multipart/form-data; boundary=b", "multipart/form-data; boundary=" + "b" * 300,
     "multipart/form-data; charset=none; boundary=b", "application/json", "", "é"]
)  # fmt: skip
HEADS = st.sampled_from(
    [b'--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\n',
     b'--b\r\nContent-Disposition: form-data; name="n_best"\r\n\r\n', b"--b--", b"--b\r\n",
     b"--b\r\nContent-Disposition: form-data\r\n\r\n", b"--b\r\n\xff: \xff\r\n\r\n", b""]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n--b--\r\n", b"\r\n--b", b"", b"\r\n--b\r\n"])
ORDINARY = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")


@st.composite
def requests(draw, operations):
    """A request to one of the operations, with some things changed."""
    path, method, names = draw(st.sampled_from(operations))
    method = draw(st.sampled_from(ORDINARY)) if draw(st.integers(0, 9)) == 0 else method
    given_id = draw(st.one_of(st.just("0" * 32), st.text(max_size=40)))
    path = path.replace("{id}", quote(given_id.encode("utf-8", "replace"), safe=""))
    chosen = st.sampled_from([*names, "name", "beam-size", "x"])
    query = draw(st.lists(st.tuples(chosen, VALUES), max_size=3))
    headers = {}
    content = b""
    if method in ("POST", "PUT", "PATCH"):
        headers["Content-Type"] = draw(TYPES).encode()
        content = draw(CONTENTS)
        if b"boundary=b" in headers["Content-Type"] and draw(st.booleans()):
            content = draw(HEADS) + content + draw(ENDS)
    extra = st.sampled_from(["Accept", "Origin", "Cookie", "Authorization", "Range", "Expect"])
    for name in draw(st.lists(extra, max_size=2)):
        value = draw(
            st.sampled_from(["application/jsonl", "null", "mrnn-token=;;", "bytes=9-1", "*"])
        )
        headers[name] = value.encode()
    return method, path, query, headers, content


def check(client, request):
    """The answer is one that the API knows, and a problem is a document of one line."""
    method, path, query, headers, content = request
    query = [(name, value.encode("utf-8", "replace").decode()) for name, value in query]
    answer = client.request(method, path, params=query, headers=headers, content=content)
    assert answer.status_code < 500 or answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    if answer.status_code >= 400 and method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        detail = answer.json()["detail"]
        assert detail == re.sub(r"[\x00-\x1f\u2028\u2029]", "", detail)
        assert 0 < len(detail) <= 500
    elif answer.headers.get("content-type") == "application/json":
        json.loads(answer.text or "null")


@pytest.fixture
def fuzzed(confident_model, colours, tmp_path):
    """A client, and the operations that the server describes.

    The server is another process: on a thread its random numbers would be those of hypothesis.
    """
    photos = [image.path for image in colours.images[:3]]
    encoder = image_encoder.SHIPPED / "colour.onnx"
    PhotoIndex.build(photos, tmp_path / "walls.index", confident_model)
    flags = ("--model", confident_model, "--encoder-file", encoder)
    with (
        served(*flags, "--index", tmp_path / "walls.index") as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client, operations_of(client.get("/openapi.json").json())
        assert client.post("/v1/caption", content=PHOTO).status_code == 200
        counts = client.get("/metrics").text
        assert "mrnn_photos_waiting 0" in counts
        assert "mrnn_spooled_bytes 0" in counts
        assert "mrnn_requests_active 1" in counts


def operations_of(api):
    return [
        (path, method.upper(), [each["name"] for each in operation.get("parameters", ())])
        for path, each in api["paths"].items()
        for method, operation in each.items()
    ]


def fuzz(fuzzed, examples):
    client, operations = fuzzed

    @settings(
        max_examples=examples, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(requests(operations))
    def each(request):
        check(client, request)

    each()


def test_two_hundred_mutated_requests(fuzzed):
    fuzz(fuzzed, 200)


@pytest.mark.slow
def test_ten_thousand_mutated_requests(fuzzed):
    fuzz(fuzzed, 10_000)
