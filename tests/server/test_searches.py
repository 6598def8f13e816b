import io
import json
import os

import httpx
import pytest
from PIL import Image

from mrnn.captioning.captioner import Captioner
from mrnn.errors import CheckpointError, DataError
from mrnn.retrieval.search import PhotoIndex
from mrnn.server.limits import Limits
from mrnn.server.searches import Searches
from mrnn.server.service import Service
from tests.conftest import COLOURS, lines_of
from tests.server.conftest import running
from tests.server.test_captions import png


@pytest.fixture
def folder(colours, confident_model, tmp_path):
    """An index of nine walls."""
    photos = [image.path for image in colours.images[:9]]
    PhotoIndex.build(photos, tmp_path / "walls.index", confident_model)
    return tmp_path / "walls.index"


@pytest.fixture
def indexed(confident_model, colour_tags, folder):
    with running(Service(Captioner.load(confident_model), "1", index=folder)) as server:
        yield server


@pytest.fixture
def finder(indexed):
    with indexed.client() as client:
        yield client


def without_ids(answer):
    assert answer.status_code == 200
    return [{k: v for k, v in each.items() if k != "id"} for each in answer.json()["results"]]


def test_a_sentence_finds_what_the_command_finds(finder, folder, mrnn):
    _, printed, _ = mrnn("search", folder, "a red wall", "--json", "--top", "4")
    answer = finder.get("/v1/search", params={"q": "a red wall", "top": 4})
    assert without_ids(answer) == lines_of(printed)
    assert answer.json()["notes"] == []


@pytest.mark.usefixtures("engine")
def test_patterns_scores_and_notes_are_those_of_the_command(finder, folder, mrnn):
    flags = ["--paths", "*-green.png", "--min-score", "-1000"]
    _, printed, told = mrnn("search", folder, "a zzz red wall", "--json", *flags)
    asked = {"q": "a zzz red wall", "paths": "*-green.png", "min_score": "-1000"}
    answer = finder.get("/v1/search", params=asked)
    assert without_ids(answer) == lines_of(printed)
    assert len(lines_of(printed)) == 3
    assert answer.json()["notes"] == told.splitlines()


def test_a_photo_finds_photos_like_it(finder, folder, colours, mrnn):
    path = colours.images[1].path
    _, printed, _ = mrnn("search", folder, path, "--json")
    sent = finder.post("/v1/search", content=path.read_bytes())
    assert without_ids(sent) == lines_of(printed)
    (first, *_) = sent.json()["results"]
    assert first["path"] == str(path)
    like = finder.get("/v1/search", params={"like": first["id"]})
    assert without_ids(like) == lines_of(printed)
    formed = finder.post("/v1/search", files=[("a", ("a.png", path.read_bytes()))])
    assert formed.json() == sent.json()


@pytest.mark.usefixtures("engine")
def test_photos_of_the_index_by_their_ids(finder, colours):
    find = finder.get("/v1/search", params={"q": "a blue wall"}).json()["results"][0]
    photo = finder.get(f"/v1/photos/{find['id']}")
    with open(find["path"], "rb") as file:
        assert photo.content == file.read()
    assert photo.headers["content-type"] == "image/png"
    small = finder.get(f"/v1/photos/{find['id']}/thumbnail", params={"side": 16})
    assert Image.open(io.BytesIO(small.content)).size == (16, 12)
    alone = finder.get(f"/v1/photos/{find['id']}/caption", params={"n_best": 2}).json()
    expected = finder.post(
        "/v1/caption", params={"n_best": 2, "name": find["path"]}, content=photo.content
    )
    assert alone == expected.json()


@pytest.mark.parametrize(
    "name",
    ["0" * 32, "zz", "0", "..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd", "0" * 31 + "%0a", "é"],
)
def test_no_other_file_is_given(finder, name):
    for end in ("", "/thumbnail", "/caption"):
        assert finder.get(f"/v1/photos/{name}{end}").status_code == 404
    assert finder.get("/v1/search", params={"like": "0" * 32}).status_code == 404


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("", 400, "give q, a sentence, or like, the id of a photo of the index"),
        ("q=a&like=b", 400, "give q, a sentence, or like"),
        ("q=", 400, "The query is empty"),
        ("q=zzz", 400, "The model knows no word of the query ('zzz'); try others"),
        ("q=red&top=0", 400, "top: expected a whole number from 1 to 1,000, not '0'"),
        ("q=red&top=x", 400, "top: expected a whole number from 1 to 1,000, not 'x'"),
        ("q=red&min_score=x", 400, "min_score: expected a number, not 'x'"),
        ("q=red&min_score=nan", 400, "min_score is nan; give a number"),
        ("q=red&paths=nowhere", 400, "No photo of the index has a path like 'nowhere'"),
        ("q=red&tpo=1", 400, "No such option: tpo; the nearest is top"),
        ("query=red", 400, "No such option: query; "),
        ("q=red&q=blue", 400, "q is given twice; give it once"),
    ],
)
def test_impossible_searches(finder, query, status, detail):
    answer = finder.get(f"/v1/search?{query}")
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(detail)


def test_a_query_of_ten_thousand_words(finder):
    answer = finder.get("/v1/search", params={"q": "red wall " * 5000})
    assert answer.status_code == 400
    expected = "The query has 10,000 words; 100 are the most that can be asked"
    assert answer.json()["detail"] == expected


def test_what_is_sent_to_search_and_is_no_photo(finder):
    bad = finder.post("/v1/search", content=b"text")
    assert bad.status_code == 422
    assert finder.post("/v1/search", content=b"").status_code == 400
    two = [("a", ("a.png", png())), ("b", ("b.png", png()))]
    assert finder.post("/v1/search", files=two).json()["detail"] == "2 photos; send one"


def test_sides_of_thumbnails_have_bounds(finder):
    find = finder.get("/v1/search", params={"q": "a red wall"}).json()["results"][0]
    answer = finder.get(f"/v1/photos/{find['id']}/thumbnail", params={"side": 5000})
    assert answer.json()["detail"].startswith("side: expected a whole number from 16 to 2,048")


@pytest.mark.usefixtures("engine")
def test_a_rebuilt_index_is_taken_without_a_restart(finder, folder, colours, confident_model):
    assert finder.get("/v1/model").json()["index"]["size"] == 9
    old = finder.get("/v1/search", params={"q": "a red wall"}).json()["results"][0]["id"]
    photos = [image.path for image in colours.images[9:13]]
    PhotoIndex.build(photos, folder, confident_model)
    assert finder.get("/v1/model").json()["index"]["size"] == 13
    found = finder.get("/v1/search", params={"q": "a red wall", "top": 20}).json()["results"]
    assert {str(path) for path in photos} <= {find["path"] for find in found}
    assert finder.get(f"/v1/photos/{old}").status_code == 200


def test_the_index_before_serves_while_the_new_one_cannot_be_read(finder, folder):
    whole = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(b"{}")
    answer = finder.get("/v1/search", params={"q": "a red wall"}).json()
    assert len(answer["results"]) == 9
    assert answer["notes"][0].startswith("This is the index as it was before: ")
    assert finder.get("/v1/model").json()["index"]["problem"] in answer["notes"][0]
    os.remove(folder / "config.json")
    assert len(finder.get("/v1/search", params={"q": "a red wall"}).json()["results"]) == 9
    (folder / "config.json").write_bytes(whole)
    assert finder.get("/v1/search", params={"q": "a red wall"}).json()["notes"] == []
    assert finder.get("/v1/model").json()["index"]["problem"] is None


def test_a_photo_that_is_gone_or_changed(finder, tmp_path):
    gone, changed, piped, *_ = finder.get("/v1/search", params={"q": "a red wall"}).json()[
        "results"
    ]
    os.remove(gone["path"])
    for end in ("", "/thumbnail", "/caption"):
        answer = finder.get(f"/v1/photos/{gone['id']}{end}")
        assert answer.status_code == 410
        assert answer.json()["detail"].startswith(f"{gone['path']}: no longer there")
    assert finder.get("/v1/search", params={"like": gone["id"]}).status_code == 410
    away = finder.get("/v1/search", params={"q": "a red wall"}).json()
    assert away["notes"] == [
        f"1 find is away and left out, as {gone['path']}; mrnn index --prune forgets what is away"
    ]
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    os.remove(changed["path"])
    os.symlink(secret, changed["path"])
    answer = finder.get(f"/v1/photos/{changed['id']}")
    assert answer.status_code == 410
    assert "secret" not in answer.text.replace("secret.txt", "")
    assert finder.get(f"/v1/photos/{changed['id']}/thumbnail").status_code == 422
    os.remove(piped["path"])
    os.mkfifo(piped["path"])
    for end in ("", "/thumbnail", "/caption"):
        assert finder.get(f"/v1/photos/{piped['id']}{end}").status_code == 410


def test_sentences(confident_model, colour_tags, tmp_path, colours):
    folder = tmp_path / "sentences.index"
    sentences = [f"a {colour} wall" for colour in COLOURS]
    PhotoIndex.build_sentences(sentences, folder, confident_model)
    service = Service(Captioner.load(confident_model), "1", index=folder)
    with running(service) as server, server.client() as client:
        content = colours.images[0].path.read_bytes()
        found = client.post("/v1/search", content=content).json()["results"]
        assert {find["sentence"] for find in found} == {*sentences}
        assert all("id" not in find for find in found)
        index = client.get("/v1/model").json()["index"]
        assert (index["holds"], index["size"]) == ("sentences", 3)
        assert client.get(f"/v1/photos/{'0' * 32}").status_code == 404


def test_without_an_index_it_says_so(client):
    for path in ("/v1/search?q=red", f"/v1/photos/{'0' * 32}"):
        answer = client.get(path)
        assert answer.status_code == 404
        expected = "this server has no index; start it with --index INDEX"
        assert answer.json()["detail"] == expected
    assert client.post("/v1/search", content=png()).status_code == 404


def test_an_index_of_another_model_is_refused(folder, model, confident_model):
    captioner = Captioner.load(confident_model)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model": "0" * 16}))
    with pytest.raises(CheckpointError, match="was made with another model than"):
        Searches(folder, captioner, Limits())
    with pytest.raises(DataError, match="is not an index"):
        Searches(folder / "nothing", captioner, Limits())


def test_too_many_searches_at_once(confident_model, colour_tags, folder):
    service = Service(Captioner.load(confident_model), "1", Limits(searches=0), index=folder)
    with running(service) as server:
        answer = httpx.get(f"{server.url}v1/search?q=red")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
