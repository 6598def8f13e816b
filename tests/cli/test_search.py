"""`mrnn index` and `mrnn search`."""

import io
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from mrnn.retrieval.results import SearchResult
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
    (photos / "train-05-blue.png").write_bytes(b"dust")
    code, out, err = mrnn("search", index, "blue & more", "--top", 30, "--html", page)
    assert (code, out) == (0, "")
    gone = photos / "train-02-blue.png"
    assert f"1 find is away and left out, as {gone}; mrnn index --prune forgets" in err
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 29
    assert text.count("(cannot be read any more)") == 1
    said = re.findall(r'<img alt="([^"]+)".*?<p class="caption">([^<]*)</p>', text)
    assert len(said) == 29
    assert all(alt == caption for alt, caption in said)
    assert "<h1>blue &amp; more</h1>" in text
    assert "&lt;b&gt;.png" in text
    assert "http:" not in text
    assert f'<a class="photo" href="{(photos / "<b>.png").as_uri()}"><img' in text


def test_a_query_that_is_not_utf8_is_shown_as_far_as_it_is():
    assert "<h1>red \\udcff</h1>" in search_page("red \udcff", [])


def test_names_that_would_mislead_are_escaped_on_a_page(tmp_path):
    path = f"{tmp_path}/\u202egnp.<b>\x1b[31m.jpg"
    found = [SearchResult(rank=1, path=path, score=1), SearchResult(rank=2, path="a", score=0)]
    found.append(SearchResult(rank=3, sentence="<i>\u2066red", score=0))
    page = search_page("red\u202e", found)
    assert not {"\u202e", "\u2066", "\x1b"} & set(page)
    assert page.count("(cannot be read any more)") == 2
    assert "<span>\\u202egnp.&lt;b&gt;\\x1b[31m.jpg</span>" in page
    shown = f'<p class="path">{tmp_path}/\\u202egnp.&lt;b&gt;\\x1b[31m.jpg</p>'
    assert shown in page.replace("<wbr>", "")
    assert '<p class="caption">&lt;i&gt;\\u2066red</p>' in page


def test_a_page_of_others_is_not_replaced(mrnn, photos, model_with_heads, tmp_path):
    index, page = tmp_path / "index", tmp_path / "page.html"
    assert mrnn("index", photos, "--out", index, "--model", model_with_heads)[0] == 0
    search = ("search", index, "red", "--html", page)
    assert mrnn(*search)[0] == mrnn(*search)[0] == 0
    page.write_text("<p>mine</p>")
    code, out, err = mrnn(*search)
    assert (code, out) == (1, "")
    assert err.startswith(f"mrnn: --html {page} exists and is not an earlier output of this comman")
    assert page.read_text() == "<p>mine</p>"
    assert mrnn(*search, "--overwrite")[0] == 0
    photo = photos / "dev-00-red.png"
    before = photo.read_bytes()
    code, _, err = mrnn("search", index, photo, "--html", photo, "--overwrite")
    assert (code, photo.read_bytes()) == (1, before)
    assert "is an input of this command" in err


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
    assert (code, out) == (1, f"{index}: 3 sentences (1 new, 0 changed, 0 forgotten)\n")
    assert err.splitlines() == [
        "'qwert asdf': has no word that the model knows",
        "1 sentence is in no file and stays in the index; --prune forgets it",
        "1 of 3 sentences could not be indexed",
    ]
    more = tmp_path / "more.txt"
    more.write_text("a green wall\n")
    assert mrnn("index", "--sentences", more, "--out", index)[1].startswith(f"{index}: 4 sentences")
    file.write_text("A red wall\n")
    code, out, err = mrnn("index", "--out", index, "--prune")
    assert (code, out) == (0, f"{index}: 2 sentences (0 new, 0 changed, 2 forgotten)\n")
    file.rename(tmp_path / "elsewhere.txt")
    code, out, err = mrnn("index", "--out", index)
    assert (code, out) == (0, f"{index}: 2 sentences (0 new, 0 changed, 0 forgotten)\n")
    assert err.splitlines() == [
        f"{file}: not there now; its sentences stay, unless you give --prune",
        "1 sentence is in no file and stays in the index; --prune forgets it",
    ]
    file.mkdir()
    code, out, err = mrnn("index", "--out", index)
    assert (code, out) == (1, f"{index}: 2 sentences (0 new, 0 changed, 0 forgotten)\n")
    assert err.startswith(f"{file}: a folder, not a file; name a file in it; its sentences stay\n")
    code, out, err = mrnn("index", "--sentences", file, "--out", index)
    assert (code, out, err) == (1, "", f"mrnn: {file}: a folder, not a file; name a file in it\n")
    code, out, err = mrnn("index", "--out", index, "--exclude", "a")
    assert (code, err) == (
        1,
        "mrnn: --exclude goes with photos; leave it out with sentences and --from\n",
    )


@pytest.mark.usefixtures("engine")
def test_a_drive_that_is_not_there_is_told_and_nothing_forgotten(
    mrnn, photos, model_with_heads, tmp_path
):
    index, drive = tmp_path / "index", tmp_path / "drive"
    shutil.copytree(photos, drive)
    model = ("--model", model_with_heads)
    assert mrnn("index", photos, "--out", index, *model)[:2] == (0, f"{index}: 30 photos\n")
    code, out, err = mrnn("index", drive, "--out", index)
    assert (code, out, err) == (0, f"{index}: 60 photos (30 new, 0 changed, 0 forgotten)\n", "")
    drive.rename(tmp_path / "elsewhere")
    (photos / "dev-00-red.png").unlink()
    shutil.copy(photos / "dev-02-blue.png", photos / "dev-01-green.png")
    code, out, err = mrnn("index", "--out", index)
    assert (code, out) == (0, f"{index}: 60 photos (0 new, 1 changed, 0 forgotten)\n")
    assert err.splitlines() == [
        f"{drive}: not there now; its photos stay, unless you give --prune",
        "31 photos are away and stay in the index; --prune forgets them",
    ]
    drive.mkdir()
    code, out, err = mrnn("index", photos, drive, "--out", index)
    assert (code, out) == (1, f"{index}: 60 photos (0 new, 0 changed, 0 forgotten)\n")
    told = err.splitlines()
    assert told[0].startswith(f"{drive}: no photos in this folder")
    assert told[1] == "31 photos are away and stay in the index; --prune forgets them"
    assert told[2] == "1 of the folders and globs had no photos or could not be searched"
    drive.rmdir()
    code, out, err = mrnn("index", drive, "--out", index)
    assert (code, err.splitlines()[0]) == (1, f"{drive}: no such file")
    code, out, _ = mrnn("index", "--out", index, "--prune")
    assert (code, out) == (0, f"{index}: 29 photos (0 new, 0 changed, 31 forgotten)\n")
    assert mrnn("index", "--out", index)[2] == ""


def test_an_index_remembers_its_folders_and_globs(
    mrnn, photos, model_with_heads, tmp_path, monkeypatch
):
    index, other = tmp_path / "index", tmp_path / "other"
    (other / "@eaDir").mkdir(parents=True)
    (other / "raw").mkdir()
    for name in ("a.png", "raw/b.png", "@eaDir/c.png", "d.gif"):
        shutil.copy(photos / "dev-00-red.png", other / name)
    monkeypatch.chdir(tmp_path)
    model = ("--model", model_with_heads)
    made = mrnn("index", "other", "photos/dev-*.png", "--out", index, *model, "--exclude", "raw/")
    assert made[:2] == (0, f"{index}: 8 photos\n")
    for folder in (other, other / "raw", photos):
        shutil.copy(photos / "dev-00-red.png", folder / "dev-new.png")
    monkeypatch.chdir(other)
    code, out, _ = mrnn("index", "--out", index)
    assert (code, out) == (0, f"{index}: 10 photos (2 new, 0 changed, 0 forgotten)\n")
    code, out, _ = mrnn("index", "--out", index, "--exclude", "*.gif", "--prune")
    assert (code, out) == (0, f"{index}: 11 photos (2 new, 0 changed, 1 forgotten)\n")


def test_a_folder_that_cannot_be_listed_costs_itself_alone(
    mrnn, photos, model_with_heads, tmp_path, monkeypatch
):
    (photos / "closed").mkdir()
    real = os.scandir

    def scandir(folder):  # root may list everything, so chmod proves nothing
        if os.path.basename(folder) == "closed":
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    index = tmp_path / "index"
    code, out, err = mrnn("index", photos, "--out", index, "--model", model_with_heads)
    assert (code, out) == (1, f"{index}: 30 photos\n")
    told = err.splitlines()
    assert told[0].startswith(f"{photos}/closed: cannot list this folder (Permission denied)")
    assert told[1:] == ["1 of the folders and globs had no photos or could not be searched"]


def test_a_list_of_photos_on_stdin(mrnn, photos, model_with_heads, tmp_path, monkeypatch):
    listed = b"\0".join(bytes(photo) for photo in sorted(photos.iterdir())[:3])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    index = tmp_path / "index"
    code, out, _ = mrnn("index", "-", "--out", index, "--model", model_with_heads)
    assert (code, out) == (0, f"{index}: 3 photos\n")
    shutil.copy(photos / "train-00-red.png", photos / "dev-01-green.png")
    assert "1 changed" in mrnn("index", "--out", index)[1]


def test_photos_that_are_away_are_not_found(mrnn, photos, model_with_heads, tmp_path):
    index = tmp_path / "index"
    assert mrnn("index", photos, "--out", index, "--model", model_with_heads)[0] == 0
    gone = [line.split()[1] for line in mrnn("search", index, "red")[1].splitlines()[:2]]
    for path in gone:
        os.unlink(path)
    code, out, err = mrnn("search", index, "red", "--top", 8, "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert (code, len(found), found[0]["rank"]) == (0, 8, 1)
    assert not {result["path"] for result in found} & {*gone}
    told = f"2 finds are away and left out, as {gone[0]}; mrnn index --prune forgets what is away\n"
    assert err == told
    photos.rename(tmp_path / "elsewhere")
    code, out, err = mrnn("search", index, "red", "--top", 2)
    assert (code, [line.split()[1] for line in out.splitlines()]) == (0, gone)
    assert err == f"2 finds are away, as {gone[0]}; mrnn index --prune forgets what is away\n"


@pytest.mark.usefixtures("engine")
def test_finds_that_are_good_enough(mrnn, photos, model_with_heads, tmp_path):
    index = tmp_path / "index"
    assert mrnn("index", photos, "--out", index, "--model", model_with_heads)[0] == 0
    every = [json.loads(line) for line in mrnn("search", index, "red", "--json")[1].splitlines()]
    least = every[3]["score"]
    code, out, err = mrnn("search", index, "red", "--json", "--min-score", least)
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == every[:4]
    code, out, err = mrnn("search", index, "red", "--min-score", 1000)
    best = every[0]["score"]
    assert (code, out, err) == (0, "", f"No find has a score of 1000; the best has {best:.2f}\n")
    code, out, err = mrnn("search", index, "red", "--min-score", "nan")
    assert (code, out, err) == (1, "", "mrnn: min_score is nan; give a number\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["index", "--out", "index"],
            "mrnn: Give photos to index, a file to --sentences, or vectors to --from\n",
        ),
        (
            ["index", "a.jpg", "--sentences", "a.txt", "--out", "index"],
            "mrnn: Give photos or --sentences to index, not both\n",
        ),
        (
            ["search", "nowhere", "my dog.HEIC"],
            "mrnn: my dog.HEIC: no such file; give a photo that is there, or a sentence\n",
        ),
        (
            ["search", "nowhere", "dog", "--html", "none/page.html"],
            "mrnn: --html none/page.html: there is no folder none; make it first\n",
        ),
        (["index", "a.jpg"], "mrnn: Give --out, the index folder\n"),
        (
            ["index", "--from", "vectors", "--sentences", "a.txt", "--out", "index"],
            "mrnn: Give --sentences or --from to index, not both\n",
        ),
        (
            ["index", "--from", "vectors", "--exclude", "a", "--out", "index"],
            "mrnn: --exclude goes with photos; leave it out with sentences and --from\n",
        ),
        (
            ["index", "--from", "vectors", "--out", "index"],
            "mrnn: vectors does not exist; make such files with mrnn embed\n",
        ),
        (
            ["index", "--sentences", __file__, "--engine", "lance", "--out", "index"],
            "mrnn: --engine lance is for photos; leave it out with sentences\n",
        ),
        (
            ["index", "a.jpg", "--out", "s3://bucket/index"],
            "mrnn: --out s3:/bucket/index: an index is a folder of this machine; name one\n",
        ),
        *(
            (
                ["index", *wrong, "--export", "a.parquet"],
                "mrnn: --export a.parquet takes an index and nothing else, as in: mrnn index "
                "photos.index --export photos.parquet\n",
            )
            for wrong in ([], ["a", "b"], ["a", "--out", "b"], ["a", "--engine", "lance"])
        ),
        (
            ["index", "nowhere", "--export", "a.parquet"],
            "mrnn: nowhere is not an index; make one with mrnn index\n",
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


@pytest.mark.usefixtures("engine")
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
    bad = {"torch", "scipy", "onnx", "mrnn.retrieval.index.writer", "mrnn.captioning.captioner"}
    print(*sorted(bad & sys.modules.keys()), file=sys.stderr)
"""
    found = subprocess.run(
        [sys.executable, "-c", script, "search", tmp_path / "index", "a red wall", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stderr == "\n"
    assert "red" in json.loads(found.stdout.splitlines()[0])["path"]


@pytest.mark.usefixtures("engine")
def test_bulk_vectors_are_indexed_and_an_index_exported(mrnn, album, model_with_heads, tmp_path):
    index, file = tmp_path / "index", tmp_path / "vectors.parquet"
    mrnn("shard", album, "--out", tmp_path / "shards", "--size", 3)
    made = ("--model", model_with_heads, "--out")
    mrnn("embed", tmp_path / "shards/*.tar", *made, tmp_path / "vectors")
    code, out, err = mrnn("index", "--from", tmp_path / "vectors", *made, index)
    assert (code, out, err) == (0, f"{index}: 4 photos\n", "")
    code, out, err = mrnn("index", "--from", tmp_path / "vectors", "--out", index)
    assert (code, out, err) == (0, f"{index}: 4 photos (0 new, 0 changed, 0 forgotten)\n", "")
    found = [json.loads(each) for each in mrnn("search", index, "red", "--json")[1].splitlines()]
    assert len(found) == 4  # none is away, as none has a file
    assert mrnn("index", index, "--export", file) == (0, f"{file}: 4 photos\n", "")
    code, out, err = mrnn("index", index, "--export", file)
    assert (code, out) == (1, "")
    assert err.endswith("give another name, or --overwrite\n")
    assert mrnn("index", index, "--export", file, "--overwrite")[0] == 0
    assert mrnn("index", "--from", file, *made, tmp_path / "again")[0] == 0
    again = mrnn("search", tmp_path / "again", "red", "--json")[1].splitlines()
    assert [json.loads(each) for each in again] == found


def test_rows_without_vectors_are_told_and_the_rest_indexed(
    mrnn, album, model_with_heads, tmp_path
):
    (album / "broken.jpg").write_bytes(b"no photo")
    made = ("--model", model_with_heads, "--out")
    mrnn("shard", album, "--out", tmp_path / "shards")
    mrnn("embed", tmp_path / "shards/*.tar", *made, tmp_path / "vectors")
    code, out, err = mrnn("index", "--from", tmp_path / "vectors", *made, tmp_path / "index")
    assert (code, out) == (1, f"{tmp_path / 'index'}: 4 photos\n")
    assert err.splitlines()[0].startswith("broken: not a photo")
    assert err.endswith("1 of 5 rows have no vectors or come twice\n")


def test_a_search_takes_an_effort(mrnn, photos, model_with_heads, tmp_path):
    index = tmp_path / "index"
    make = ("index", photos, "--out", index, "--model", model_with_heads, "--engine", "lance")
    assert mrnn(*make)[0] == 0
    assert mrnn("search", index, "red", "--effort", 100) == mrnn("search", index, "red")
    code, out, err = mrnn("search", index, "red", "--effort", 0)
    assert (code, out) == (1, "")
    assert err == "mrnn: effort is 0; give a percentage above 0, up to 100\n"
