import json

import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.model.checkpoint import Checkpoint
from mrnn.server.app import PAGE
from mrnn.server.service import Service
from tests.server.conftest import running


def test_health(client):
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_model(confident_model, colour_tags):
    """As it was when the server started."""
    (confident_model / "MODEL_CARD.md").write_text("# Walls", encoding="utf-8")
    service = Service(Captioner.load(confident_model), "1.2.3")
    (confident_model / "MODEL_CARD.md").write_text("# Another", encoding="utf-8")
    with running(service) as server, server.client() as client:
        found = client.get("/v1/model").json()
    checkpoint = Checkpoint.load(confident_model)
    assert found["name"] == "tiny"
    assert found["vocabulary_size"] == len(checkpoint.vocabulary)
    assert found["fingerprint"] == checkpoint.fingerprint
    assert found["encoder"] == checkpoint.encoder.model_dump(mode="json")
    assert found["decoding"] == checkpoint.config.decoding.model_dump(mode="json")
    assert (found["card"], found["version"], found["index"]) == ("# Walls", "1.2.3", None)
    assert found["has_heads"] is found["has_confidence"] is found["has_tags"] is True
    assert 0 < found["guess"] < 1


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/nothing", 404, "'/nothing': there is nothing here; /docs lists what there is"),
        ("GET", "/v1/caption/", 404, "there is nothing here"),
        ("GET", "/../app.py", 404, "there is nothing here"),
        ("GET", "/%2e%2e/app.py", 404, "there is nothing here"),
        ("GET", "/..%2fapp.py", 404, "there is nothing here"),
        ("GET", "//etc/passwd", 404, "there is nothing here"),
        ("GET", "/a%00b", 404, "there is nothing here"),
        ("DELETE", "/v1/model", 405, "'/v1/model' does not take DELETE; see /docs"),
        ("GET", "/v1/caption", 405, "'/v1/caption' does not take GET"),
        ("POST", "/style.css", 405, "does not take POST"),
    ],
)
def test_what_is_not_there(client, method, path, status, detail):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize("file", sorted(path.name for path in PAGE.iterdir()))
def test_the_page_is_served_and_loads_nothing_from_elsewhere(client, file):
    answer = client.get(f"/{file}")
    assert answer.status_code == 200
    text = answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert "http://" not in text
    assert "innerHTML" not in text
    assert "style=" not in text
    assert answer.headers["etag"]


def test_the_description_names_every_endpoint(client):
    api = client.get("/openapi.json").json()
    assert api["openapi"] == "3.1.0"
    operations = {(path, method) for path, each in api["paths"].items() for method in each}
    for path, method in operations:
        wrong = "delete" if method == "get" else "get"
        if (path, wrong) not in operations:
            assert client.request(wrong, path.replace("{id}", "0")).status_code == 405
    schemas = api["components"]["schemas"]
    for reference in json.dumps(api).split('"$ref": "')[1:]:
        name = reference.split('"')[0].removeprefix("#/components/schemas/")
        assert name in schemas
    names = [each["name"] for each in api["paths"]["/v1/caption"]["post"]["parameters"]]
    assert {"beam_size", "consensus", "force_words", "name"} <= {*names}


def test_metrics_count(client):
    client.post("/v1/caption", content=b"text")
    client.get("/nothing/" + "x" * 50)
    text = client.get("/metrics").text
    assert 'mrnn_build_info{version="1.2.3"} 1' in text
    assert 'mrnn_requests_total{method="POST",path="/v1/caption",status="422"} 1' in text
    assert 'mrnn_requests_total{method="GET",path="other",status="404"} 1' in text
    assert 'mrnn_photos_total{result="failed"} 1' in text
    assert "mrnn_batches_total 1" in text
    assert "mrnn_photos_waiting 0" in text
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    names = {line.split("{")[0].split(" ")[0] for line in samples}
    described = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    bare = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in names
    }
    assert bare == described
    assert all(float(line.rpartition(" ")[2]) >= 0 for line in samples)
