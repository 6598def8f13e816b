import io
import json
import threading

import pytest
from PIL import Image

from mrnn.captioning.results import ImageCaptions
from tests.conftest import COLOURS, lines_of
from tests.server.conftest import running, wait_for


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images[:3]]


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}


def form(photos, kind="image/png"):
    return [("photo", (str(path), path.read_bytes(), kind)) for path in photos]


def png(colour="red", size=(16, 12)):
    stream = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "flags",
    [[], ["--n-best", "3", "--beam-size", "5"], ["--force-words", "red", "--force-words", "wall"],
     ["--temperature", "1.5", "--seed", "7"], ["--consensus", "self", "--n-best", "2"]],
)  # fmt: skip
def test_a_body_gives_the_bytes_of_the_command(client, confident_model, photos, mrnn, flags):
    options = [
        (flag[2:].replace("-", "_"), value)
        for flag, value in zip(flags[::2], flags[1::2], strict=True)
    ]
    _, printed, _ = mrnn("caption", photos[0], "--model", confident_model, "--json", *flags)
    answer = client.post(
        "/v1/caption", params=[("name", str(photos[0])), *options], content=photos[0].read_bytes()
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == printed


def test_a_form_gives_a_list_or_the_lines_of_the_command(client, confident_model, photos, mrnn):
    _, printed, _ = mrnn("caption", *photos, "--model", confident_model, "--json", "--n-best", "2")
    data = {"n_best": "2"}
    listed = client.post("/v1/caption", files=form(photos), data=data)
    assert listed.json() == lines_of(printed)
    assert all(line in listed.text for line in printed.splitlines())
    for kind in ("application/jsonl", "application/x-ndjson"):
        lines = client.post("/v1/caption", files=form(photos), data=data, headers={"Accept": kind})
        assert lines.headers["content-type"].startswith("application/jsonl")
        assert lines.text == printed


def test_a_photo_that_cannot_be_read_says_so_as_the_command(
    client, confident_model, tmp_path, mrnn, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "no\nphoto.jpg"
    bad.write_bytes(b"text")
    code, _, told = mrnn("caption", bad.name, "--model", confident_model, "--json")
    assert code == 1
    alone = client.post("/v1/caption", params={"name": bad.name}, content=bad.read_bytes())
    assert alone.status_code == 422
    assert alone.headers["content-type"] == "application/problem+json"
    assert alone.json() == {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": told.splitlines()[0],
    } | {"title": alone.json()["title"]}
    named = [("a", ("ok.png", png())), ("b", ("no photo.jpg", b"text"))]
    good, failed = client.post("/v1/caption", files=named).json()
    assert good["error"] is None
    assert failed["captions"] == []
    assert failed["error"].startswith("no photo.jpg: not a")


@pytest.mark.parametrize(
    ("query", "option", "detail"),
    [
        ("beam_sise=3", "beam_sise", "No such option: beam_sise; the nearest is beam_size"),
        ("beam-size=3", "beam-size", "No such option: beam-size; the nearest is beam_size"),
        ("n_best=1&n_best=2", "n_best", "n_best is given twice; give it once"),
        ("consensus=data", "consensus", "--consensus 'data': give self or none"),
        ("beam_size=1000&n_best=1000&force_words=red&force_words=wall", "",
         "3,000 hypotheses at each step, 2,000 are the most"),
    ],
)  # fmt: skip
def test_impossible_options(client, query, option, detail):
    answer = client.post(f"/v1/caption?{query}", content=png())
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)
    assert answer.json().get("option", "") == option


@pytest.mark.parametrize(
    "flags",
    [["--n-best", "0"], ["--top-k", "3"], ["--force-words", "walls"], ["--similarity-weight", "-1"],
     ["--min-length", "9", "--max-length", "3"], ["--prefix", "the the wall", "--max-length", "2"]],
)  # fmt: skip
def test_wrong_values_are_told_in_the_line_of_the_command(
    client, confident_model, photos, mrnn, flags
):
    code, _, told = mrnn("caption", photos[0], "--model", confident_model, *flags)
    assert code == 1
    names = [flag[2:].replace("-", "_") for flag in flags[::2]]
    answer = client.post(
        "/v1/caption", params=dict(zip(names, flags[1::2], strict=True)), content=png()
    )
    assert answer.status_code == 400
    assert f"mrnn: {answer.json()['detail']}\n" == told
    assert answer.json().get("option", names[0]) in names


def test_a_value_that_is_no_number(client):
    answer = client.post("/v1/caption?beam_size=many", content=png())
    assert answer.status_code == 400
    assert answer.json()["detail"] == "--beam-size: expected a whole number, not 'many'"
    assert answer.json()["option"] == "beam_size"


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        ({"content": b""}, "the body is empty; send a photo"),
        ({"files": [("a", (None, "1"))]}, "the form holds no photo; send at least one part"),
        ({"files": [("a", ("", b""))]}, "the form holds no photo; send at least one part"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
         "the form cannot be read (Missing boundary in multipart); send multipart/form-data"),
        ({"content": b"--b\r\n\r\n", "headers": BOUNDARY},
         "the form cannot be read (The Content-Disposition header field"),
        ({"content": b"nothing", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
         "the form cannot be read"),
    ],
)  # fmt: skip
def test_nothing_to_caption(client, request_, detail):
    answer = client.post("/v1/caption", **request_)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)


def test_a_photo_of_too_many_pixels(client, confident_model, tmp_path, mrnn):
    path = tmp_path / "huge.png"
    Image.new("1", (20_000, 20_000)).save(path)
    _, _, told = mrnn("caption", path, "--model", confident_model)
    answer = client.post(
        "/v1/caption", params={"name": str(path)}, content=path.read_bytes(), timeout=60
    )
    assert answer.status_code == 422
    assert answer.json()["detail"] == told.splitlines()[0]
    assert "20000 x 20000" in answer.json()["detail"]


def test_a_form_that_is_cut(client):
    head = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
    for body in (head + png(), head + png() + b"\r\n--b\r\n", head, b"--b"):
        answer = client.post("/v1/caption", content=body, headers=BOUNDARY)
        assert answer.status_code == 400
        line = "the form ends before its last boundary; send it whole"
        assert answer.json()["detail"] == line


def test_a_file_of_no_name_is_a_photo(client):
    head = b'--b\r\nContent-Disposition: form-data; name="a"; filename=""\r\n\r\n'
    sent = {"Content-Type": "multipart/form-data; boundary=b"}
    body = head + png() + b"\r\n--b--\r\n"
    (found,) = client.post("/v1/caption", content=body, headers=sent).json()
    assert found["image"] == "photo"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\x00b", "é 🐕.png", "<b>.png", "x" * 5000]
)
def test_names_are_labels_and_no_paths(client, name):
    found = client.post("/v1/caption", params={"name": name}, content=png()).json()
    assert found["image"] == name
    ImageCaptions.model_validate(found)


def test_a_thumbnail_is_small_and_upright(client):
    stream = io.BytesIO()
    image = Image.new("RGB", (1000, 500), COLOURS["blue"])
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010E] = "secret place"
    image.save(stream, "JPEG", exif=exif)
    answer = client.post("/v1/thumbnail", content=stream.getvalue())
    assert answer.headers["content-type"] == "image/jpeg"
    small = Image.open(io.BytesIO(answer.content))
    assert small.size == (160, 320)
    assert b"secret" not in answer.content
    refused = client.post("/v1/thumbnail", content=b"text")
    assert refused.status_code == 422
    two = client.post("/v1/thumbnail", files=[("a", ("a", png())), ("b", ("b", png()))])
    assert (two.status_code, two.json()["detail"]) == (400, "2 photos; send one")


def test_a_full_queue_says_when_to_come_again(limited_service):
    service = limited_service(queue=2)
    with running(service, work=False) as server, server.client() as client:
        first = threading.Thread(
            target=client.post, args=("/v1/caption",), kwargs={"files": [("a", ("a", png()))] * 2}
        )
        first.start()
        wait_for(lambda: service.worker.waiting == 2)
        for sent in ({"content": png()}, {"files": [("a", ("a", png()))]}):
            answer = client.post("/v1/caption", **sent)
            assert answer.status_code == 503
            assert answer.json()["detail"].startswith("2 photos wait already")
            assert 1 <= int(answer.headers["retry-after"]) <= 120
        service.worker.start()
        first.join(60)
        assert client.post("/v1/caption", content=png()).status_code == 200


def test_more_than_the_queue_takes_at_once(limited_service):
    with running(limited_service(queue=2)) as server, server.client() as client:
        answer = client.post("/v1/caption", files=[("a", ("a", png()))] * 3)
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("0 photos wait already, and 2 are the most")


def test_a_request_that_takes_too_long(limited_service):
    service = limited_service(seconds=0.2)
    with running(service, work=False) as server, server.client() as client:
        answer = client.post("/v1/caption", content=png())
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("not done within 0 s")
        assert answer.headers["retry-after"]
        assert service.worker.waiting == 0
        assert service.spool.taken == 0


def test_a_client_that_leaves_gives_up_its_place(limited_service):
    service = limited_service()
    with running(service, work=False) as server, server.client() as client:
        with pytest.raises(Exception, match="timed out"):
            client.post("/v1/caption", content=png(), timeout=0.5)
        wait_for(lambda: service.worker.waiting == 0)
        wait_for(lambda: service.spool.taken == 0)
        service.worker.start()
        assert client.post("/v1/caption", content=png()).status_code == 200
        assert 'status="499"' in client.get("/metrics").text


def test_a_failure_of_the_model_spares_the_other_photos(service, monkeypatch):
    real = service.captioner.encoder.preprocess

    def preprocess(photo):
        if photo.size == (13, 13):
            raise RuntimeError("broken")
        return real(photo)

    monkeypatch.setattr(
        type(service.captioner.encoder), "preprocess", lambda _, photo: preprocess(photo)
    )
    with running(service) as server, server.client() as client:
        bad = png(size=(13, 13))
        named = [("a", ("a", png())), ("b", ("b", bad)), ("c", ("c", png()))]
        found = client.post("/v1/caption", files=named).json()
        assert [one["error"] for one in found] == [None, "the server failed (RuntimeError)", None]
        alone = client.post("/v1/caption", content=bad)
        assert alone.status_code == 500
        assert alone.json()["detail"] == "the server failed (RuntimeError); its log says more"
        assert server.log == ["mrnn: POST '/v1/caption': RuntimeError: broken"]
        server.log.clear()
        assert client.post("/v1/caption", content=png()).status_code == 200


def test_requests_at_the_same_time_get_their_own_captions(client, photos):
    alone = {
        path.name: client.post(
            "/v1/caption", params={"name": path.name}, content=path.read_bytes()
        ).text
        for path in photos
    }
    found = {}

    def ask(number):
        path = photos[number % 3]
        sent = {"params": {"name": path.name}, "content": path.read_bytes()}
        found[number] = (path.name, client.post("/v1/caption", **sent).text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 24
    assert all(text == alone[name] for name, text in found.values())
    assert json.loads(next(iter(alone.values())))["captions"]
