"""`mrnn index` and `mrnn search`."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from mrnn.retrieval.index import open_index
from mrnn.retrieval.search_page import search_page


@pytest.fixture
def photos(colours):
    return colours.images[0].path.parent


def test_photos_are_indexed_and_found(mrnn, photos, model_with_heads, tmp_path):
    index = tmp_path / "index"
    (photos / "broken.png").touch()
    code, out, err = mrnn("index", photos, "--out", index, "--model", model_with_heads)
    assert (code, out) == (1, f"{index}: 30 photos\n")
    assert err.splitlines() == [
        f"{photos}/broken.png: empty, 0 bytes; copy the photo again",
        "1 of 31 photos could not be indexed",
    ]
    code, out, err = mrnn("search", index, "a red velvet wall", "--top", 3, "--json")
    assert (code, err) == (0, "Ignored, as the model does not know them: velvet\n")
    results = [json.loads(line) for line in out.splitlines()]
    assert [sorted(result) for result in results] == [["path", "rank", "score"]] * 3
    assert all("red" in result["path"] for result in results)
    code, out, _ = mrnn("search", index, photos / "dev-01-green.png", "--top", 1)
    assert (code, out.split()) == (0, ["1.00", f"{photos}/dev-01-green.png"])
    code, out, _ = mrnn("search", index, "blue", "--paths", "*dev*", "--top", 9)
    assert len(out.splitlines()) == 6


def test_words_that_only_name_a_tag_find_photos_by_it(
    mrnn, photos, model_with_heads, colour_tags, tmp_path
):
    index = tmp_path / "index"
    assert mrnn("index", photos, "--out", index, "--model", model_with_heads)[0] == 0
    code, out, err = mrnn("search", index, "crimson", "--top", 3, "--json")
    assert (code, err) == (0, '"crimson" is not in the model\'s vocabulary: found by tags\n')
    results = [json.loads(line) for line in out.splitlines()]
    assert [sorted(result) for result in results] == [["path", "rank", "score"]] * 3
    assert all("red" in result["path"] for result in results)
    code, out, err = mrnn("search", index, "a velvet wall, big skies", "--top", 3)
    assert (code, out.count("blue.png")) == (0, 3)
    assert err.splitlines() == [
        '"big skies" is not in the model\'s vocabulary: found by tags',
        "Ignored, as the model does not know them: velvet",
    ]


def test_a_page_of_thumbnails_names_what_is_gone(mrnn, photos, model_with_heads, tmp_path):
    index, page = tmp_path / "index", tmp_path / "found.html"
    Image.new("RGB", (900, 600), "blue").save(photos / "<b>.png")
    assert mrnn("index", photos, "--out", index, "--model", model_with_heads)[0] == 0
    (photos / "train-02-blue.png").unlink()
    code, out, err = mrnn("search", index, "blue & more", "--top", 30, "--html", page)
    assert (code, out) == (0, "")
    assert f"{photos}/train-02-blue.png is no longer there; run mrnn index again\n" in err
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 29
    assert text.count("(cannot be read any more)") == 1
    assert "<h1>blue &amp; more</h1>" in text
    assert "&lt;b&gt;.png" in text
    assert "http" not in text
    assert f'<a href="{(photos / "<b>.png").as_uri()}"><img' in text


def test_a_query_that_is_not_utf8_is_shown_as_far_as_it_is():
    assert "<h1>red \\udcff</h1>" in search_page("red \udcff", [])


def test_sentences_are_indexed_and_found(mrnn, photos, model_with_heads, tmp_path):
    file, index = tmp_path / "sentences.txt", tmp_path / "index"
    file.write_text("A red wall\n\nthe wall is green\n")
    code, out, _ = mrnn("index", "--sentences", file, "--out", index, "--model", model_with_heads)
    assert (code, out) == (0, f"{index}: 2 sentences\n")
    code, out, _ = mrnn("search", index, photos / "dev-00-red.png", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[0])["sentence"] == "A red wall"
    file.write_text("A red wall\nqwert asdf\na blue velvet wall\n")
    code, out, err = mrnn("index", "--sentences", file, "--out", index, "--model", model_with_heads)
    assert (code, out) == (1, f"{index}: 2 sentences (1 new, 0 changed, 1 forgotten)\n")
    assert err == (
        "'qwert asdf': has no word that the model knows\n1 of 3 sentences could not be indexed\n"
    )


def test_a_folder_that_is_not_there_forgets_nothing(mrnn, photos, model_with_heads, tmp_path):
    index, drive = tmp_path / "index", tmp_path / "drive"
    shutil.copytree(photos, drive)
    arguments = ("index", photos, drive, "--out", index, "--model", model_with_heads)
    assert mrnn(*arguments)[:2] == (0, f"{index}: 60 photos\n")
    shutil.rmtree(drive)
    code, out, err = mrnn(*arguments)
    assert (code, out) == (1, "")
    assert err == f"mrnn: {drive}: no such file or folder; nothing was changed\n"
    assert len(open_index(index)) == 60
    (photos / "dev-00-red.png").unlink()
    os.utime(photos / "dev-01-green.png", (1, 1))
    code, out, _ = mrnn("index", photos, "--out", index, "--model", model_with_heads)
    assert (code, out) == (0, f"{index}: 29 photos (0 new, 1 changed, 31 forgotten)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "--out", "index"], "mrnn: Give photos to index, or a file to --sentences\n"),
        (
            ["search", "nowhere", "my dog.HEIC"],
            "mrnn: my dog.HEIC: no such file; give a photo that is there, or a sentence\n",
        ),
        (
            ["search", "nowhere", "dog", "--html", "none/page.html"],
            "mrnn: --html none/page.html: there is no folder none; make it first\n",
        ),
        (["search", "nowhere", "dog"], "mrnn: nowhere is not an index; make one with mrnn index\n"),
    ],
)
def test_what_cannot_be_done_is_one_line(mrnn, arguments, message):
    assert mrnn(*arguments) == (1, "", message)


def test_a_very_long_query_is_no_path(mrnn, photos, model_with_heads, tmp_path):
    mrnn("index", photos, "--out", tmp_path / "index", "--model", model_with_heads)
    code, out, err = mrnn("search", tmp_path / "index", "velvet " + "wall " * 9_999)
    assert (code, out) == (1, "")
    assert err == "mrnn: The query has 10,000 words; 100 are the most that can be asked\n"


def test_photos_that_are_there_already_are_told_apart(mrnn, photos, model_with_heads, tmp_path):
    index = tmp_path / "index"
    few = sorted(photos.iterdir())[:3]
    make = ("index", "--out", index, "--model", model_with_heads)
    assert mrnn(*make, *few)[1] == f"{index}: 3 photos\n"
    assert mrnn(*make, *few)[1] == f"{index}: 3 photos (0 new, 0 changed, 0 forgotten)\n"
    code, out, err = mrnn(*make, photos)
    assert (code, out, err) == (0, f"{index}: 30 photos (27 new, 0 changed, 0 forgotten)\n", "")


def test_a_search_for_a_sentence_loads_no_more_than_it_needs(
    mrnn, photos, model_with_heads, tmp_path
):
    """What makes an index is not there, nor what is slow to import."""
    mrnn("index", photos, "--out", tmp_path / "index", "--model", model_with_heads)
    script = """
import sys
from mrnn.cli import main
try:
    main()
finally:
    bad = {"torch", "scipy", "onnx", "mrnn.retrieval.index_writer", "mrnn.captioning"}
    print(*sorted(bad & sys.modules.keys()), file=sys.stderr)
"""
    found = subprocess.run(
        [sys.executable, "-c", script, "search", tmp_path / "index", "a red wall", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stderr == "\n"
    assert "red" in json.loads(found.stdout.splitlines()[0])["path"]
