import re

import pytest

from mrnn.server.access import Access, host_of, is_loopback
from tests.server.conftest import running

TOKEN = "a long secret"


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:9", "[::1]:80", "LOCALHOST:1", "localhost."]
)
def test_names_of_this_computer_are_answered(client, host):
    assert client.get("/v1/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1"]
)
def test_another_name_that_leads_here_is_refused(client, host):
    answer = client.get("/v1/model", headers={"Host": host})
    assert answer.status_code == 403
    assert "is none of this server; if it is yours, start it with --allow-host NAME" in answer.text


def test_hosts_of_a_server_for_others():
    access = Access.at("0.0.0.0", TOKEN, ["Photos.Example"])
    assert access.any_address
    assert "photos.example" in access.hosts
    assert not Access.at("127.0.0.2", None).any_address
    assert Access.at("localhost", None, ["proxy"]).hosts >= {"localhost", "proxy"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("LocalHost", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("example.org", False)],
)  # fmt: skip
def test_loopback(host, expected):
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    ("header", "name"),
    [("a", "a"), ("A:1", "a"), ("[::1]:1", "::1"), ("[::1]", "::1"), ("[::1]x", ""), ("a.", "a")],
)
def test_host_without_port(header, name):
    assert host_of(header) == name


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "https://localhost:1"},
     {"Origin": ""}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}],
)  # fmt: skip
def test_another_page_is_refused(client, headers):
    for answer in (
        client.get("/v1/model", headers=headers),
        client.post("/v1/caption", headers=headers),
    ):
        assert answer.status_code == 403
        assert "this request comes from another page" in answer.json()["detail"]


def test_its_own_page_is_answered_and_a_link_from_elsewhere_leads_to_it(server, client):
    own = server.url.rstrip("/")
    assert client.get("/v1/model", headers={"Origin": own}).status_code == 200
    assert client.get("/v1/model", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.post("/", headers=link).status_code == 403


@pytest.fixture
def guarded(service):
    with running(service, Access(token=TOKEN)) as server:
        yield server


def test_without_the_token_nothing_is_told(guarded):
    with guarded.client() as client:
        for path in (
            "/v1/model",
            "/metrics",
            "/openapi.json",
            "/docs",
            "/v1/caption",
            "/index.html",
        ):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "mrnn-token=wrong"}):
                answer = client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "the token is missing or wrong" in answer.json()["detail"]
        assert client.get("/healthz").status_code == 200
        assert client.get("/style.css").status_code == 200


def test_the_token_opens_it(guarded):
    with guarded.client(Authorization=f"Bearer {TOKEN}") as client:
        assert client.get("/v1/model").status_code == 200
        assert client.get("/").status_code == 200


def test_the_address_with_the_token_gives_the_browser_a_cookie(guarded):
    with guarded.client() as client:
        asked = client.get("/")
        assert asked.status_code == 401
        assert 'name="token"' in asked.text
        assert client.get("/", params={"token": "wrong"}).status_code == 401
        answer = client.get("/", params={"token": TOKEN})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert re.search("httponly", cookie, re.IGNORECASE)
        assert re.search("samesite=strict", cookie, re.IGNORECASE)
        assert client.get("/").status_code == 200
        assert client.get("/v1/model").status_code == 200


def test_every_answer_is_for_the_page_alone(client):
    for path in ("/", "/v1/model", "/nothing", "/docs", "/style.css"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    assert client.get("/v1/model").headers["cache-control"] == "no-store"
