import csv
import io
import os
import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrnn.captioning import caption_search, captioner
from mrnn.captioning.results import Caption, ImageCaptions
from mrnn.cli.caption_outputs import caption_text
from mrnn.data.photos.paths import SYSTEM_FOLDERS
from mrnn.locks import locked
from tests.cli.processes import start
from tests.conftest import lines_of


def test_json_is_an_object_a_photo_and_nothing_more(mrnn, model, album):
    bad = album / "bad.png"
    bad.touch()
    code, out, err = mrnn("caption", album, "--model", model, "--json", "--n-best", "2")
    results = lines_of(out)
    assert code == 1
    assert err == f"{bad}: empty, 0 bytes; copy the photo again\n" + (
        "1 of 5 photos could not be captioned\n"
    )
    assert [Path(result["image"]).name for result in results] == [
        *("a b.png", "bad.png", "comma, 'and' \"quotes\".png", "emoji 🐕.png", "é.png")
    ]
    for result in results:
        assert sorted(result) == [
            *("captions", "confidence", "error", "familiarity", "image", "tags")
        ]
        if result["error"]:
            assert (result["captions"], result["familiarity"]) == ([], None)
            continue
        assert 0 <= result["familiarity"] <= 1
        assert len(result["captions"]) == 2
        for caption in result["captions"]:
            assert sorted(caption) == ["log_probability", "text", "words"]
            assert [sorted(word) for word in caption["words"]] == [
                ["log_probability", "word"] for _ in caption["words"]
            ]
            assert " ".join(word["word"] for word in caption["words"]) == caption["text"]
            assert sum(w["log_probability"] for w in caption["words"]) > caption["log_probability"]


def test_text_is_a_line_a_photo(mrnn, model, album):
    code, out, _ = mrnn("caption", album / "a b.png", album / "sub", "--model", model)
    assert code == 0
    lines = [line for line in out.splitlines() if not line.startswith("  (a guess")]
    assert [line.split(": ")[0] for line in lines] == [f"{album}/a b.png", f"{album}/sub/é.png"]
    _, out, _ = mrnn("caption", album / "a b.png", "--model", model, "--n-best", "3")
    first, *captions = out.splitlines()[:4]
    assert first == f"{album}/a b.png:"
    for rank, line in enumerate(captions, 1):
        assert re.match(rf"   {rank}  +-\d+\.\d\d  [a-z ]+$", line)


def test_tags_are_told_if_asked_for(mrnn, model, colour_tags, colours, tmp_path):
    photo = colours.images[0].path  # a red one
    _, out, _ = mrnn("caption", photo, "--model", model, "--json")
    (tag,) = lines_of(out)[0]["tags"]
    assert (sorted(tag), tag["tag"]) == (["probability", "tag"], "crimson")
    _, plain, _ = mrnn("caption", photo, "--model", model)
    code, out, err = mrnn("caption", photo, "--model", model, "--tags")
    assert (code, err) == (0, "")
    assert "  (tags: crimson)" in out.splitlines()
    assert out.replace("\n  (tags: crimson)", "") == plain
    _, out, _ = mrnn("caption", photo, "--model", model, "--sidecar", "--tags")
    assert photo.with_suffix(".txt").read_text().splitlines()[1] == "crimson"
    mrnn("caption", photo, "--model", model, "--out", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1].split(",")[4] == "crimson"


def test_an_encoder_without_classes_gives_no_tags(mrnn, model, album):
    code, out, err = mrnn("caption", album / "a b.png", "--model", model, "--tags")
    assert (code, "tags" in out) == (0, False)
    assert err == "Note: --tags: ignored, as the encoder of this model has no known classes\n"


def test_a_strange_photo_is_said_to_be_a_guess(mrnn, model, album, tmp_path):
    code, out, _ = mrnn("caption", album / "a b.png", "--model", model, "--json")
    assert code == 0
    result = lines_of(out)[0]
    _, out, _ = mrnn("caption", album / "a b.png", "--model", model)
    assert ("a guess" in out) == (result["familiarity"] < 0.5)


@pytest.mark.parametrize(
    ("familiarity", "confidence", "told"),
    [
        (0.9, 0.4, ""),
        (0.9, None, ""),
        (None, 0.25, "\n  (a guess: confidence 0.25)"),
        (0.2, 0.9, ""),
        (
            0.2, None,
            "\n  (a guess: this is unlike the photos that the model learned from; "
            "familiarity 0.20)",
        ),
        (
            0.2, 0.05,
            "\n  (a guess: this is unlike the photos that the model learned from; "
            "familiarity 0.20, confidence 0.05)",
        ),
    ],
)  # fmt: skip
def test_a_guess_is_told(familiarity, confidence, told):
    caption = Caption(text="a dog", log_probability=-1, words=())
    result = ImageCaptions(
        image="a.jpg", captions=(caption,), familiarity=familiarity, confidence=confidence
    )
    assert caption_text(result) == f"a.jpg: a dog{told}"


def test_photos_sorted_by_confidence(mrnn, confident_model, colours, tmp_path):
    photos = tmp_path / "photos"
    (photos / "bad.png").touch()
    arguments = ("caption", photos, "--model", confident_model)
    code, out, _ = mrnn(*arguments, "--json")
    plain = lines_of(out)
    code, out, err = mrnn(*arguments, "--json", "--sort", "confidence")
    found = lines_of(out)
    assert code == 1
    assert err.endswith("1 of 31 photos could not be captioned\n")
    assert len({result["confidence"] for result in found}) > 5
    assert found == sorted(plain, key=lambda r: 2 if r["confidence"] is None else r["confidence"])
    assert found[-1]["error"]
    _, text, _ = mrnn(*arguments, "--sort", "confidence")
    named = [line.split(": ")[0] for line in text.splitlines() if not line.startswith("  (")]
    assert named == [result["image"] for result in found[:-1]]


@pytest.mark.parametrize("option", [["--out", "x.csv"], ["--sidecar"]])
def test_what_is_not_printed_is_not_sorted(mrnn, album, option):
    code, out, err = mrnn("caption", album, "--sort", "confidence", *option)
    assert (code, out) == (1, "")
    assert err == "mrnn: --sort orders what is printed; leave out --out, --sidecar and --xmp\n"


def test_sorting_needs_a_model_with_confidence(mrnn, album, model):
    code, out, err = mrnn("caption", album, "--model", model, "--sort", "confidence")
    assert (code, out) == (1, "")
    assert err == (
        "mrnn: --sort confidence: this model has none; train it and its heads with photos held out "
        "(training.held_out)\n"
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_file_of_captions_goes_on_after_a_cut(mrnn, model, album, tmp_path, suffix):
    (album / "bad.png").touch()
    out = tmp_path / f"captions{suffix}"
    arguments = ("caption", album, "--model", model, "--out", out)
    code, text, _ = mrnn(*arguments)
    assert (code, text) == (1, "")
    whole = out.read_bytes()
    if suffix == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            images = [row["image"] for row in csv.DictReader(file)]
    else:
        images = [result["image"] for result in lines_of(whole.decode())]
    assert len(images) == len(set(images)) == 5
    for share in (0.1, 0.35, 0.6, 0.95):
        out.write_bytes(whole[: int(share * len(whole))])
        mrnn(*arguments)
        assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    for _ in range(2):
        code, _, err = mrnn(*arguments)
        assert code == 1
        assert err.startswith(f"{out}: 4 photos are done already\n{album}/bad.png: empty, 0 bytes")
        assert err.endswith("1 of 1 photos could not be captioned\n")
        assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    (album / "bad.png").write_bytes((album / "a b.png").read_bytes())
    assert mrnn(*arguments)[0] == 0
    mended = out.read_bytes()
    code, _, err = mrnn(*arguments)
    assert (code, err) == (0, f"{out}: 5 photos are done already\n")
    assert out.read_bytes() == mended


def test_a_sidecar_never_replaces_what_a_user_wrote(mrnn, model, album, monkeypatch):
    mine = album / "a b.txt"
    mine.write_text("my own words")
    code, out, err = mrnn("caption", album, "--model", model, "--sidecar")
    assert (code, out) == (0, "")
    stays = "Text files there already and stay; --existing overwrite replaces them: "
    assert err == f"Text files written: 3\n{stays}1\n"
    assert mine.read_text() == "my own words"
    with monkeypatch.context() as patch:  # what is there is not captioned again
        patch.setattr(captioner.Captioner, "stream", lambda _, photos, *options: iter(photos))
        code, out, err = mrnn("caption", album, "--model", model, "--sidecar")
    assert (code, out, err) == (0, "", f"{stays}4\n")
    written = sorted(path.name for path in album.rglob("*.txt"))
    assert written == ["a b.txt", "comma, 'and' \"quotes\".txt", "emoji 🐕.txt", "é.txt"]
    assert mrnn("caption", album, "--model", model, "--sidecar", "--existing", "overwrite")[0] == 0
    assert mine.read_text() != "my own words"


def test_photos_of_one_name_do_not_share_a_sidecar(mrnn, model, tmp_path, monkeypatch):
    for name in ("a.heic", "a.jpg", "a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no photo")
        if name != "a.heic":
            Image.new("RGB", (64, 64), "red").save(tmp_path / name)
    caption = caption_search.CaptionSearch._caption
    words = iter("abc")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so that the words come in order
    monkeypatch.setattr(
        caption_search.CaptionSearch,
        "_caption",
        lambda self, each: caption(self, each).model_copy(update={"text": next(words)}),
    )
    arguments = ("caption", tmp_path, "--model", model, "--sidecar", "--existing", "overwrite")
    code, out, err = mrnn(*arguments)
    assert (code, out) == (1, "")
    assert err.splitlines()[1:] == [
        f"{tmp_path}/a.png: the text file cannot be written (a.txt is that of a.jpg; rename one "
        "of the photos)",
        "Text files written: 2",
        "Text files not written: 1",
        "1 of 4 photos could not be captioned",
    ]
    found = {file.name: file.read_text() for file in tmp_path.glob("*.txt")}
    assert found == {"a.txt": "a\n", "b.txt": "c\n"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--existing", "append"],
            "--existing append is for files beside photos; give --sidecar or --xmp",
        ),
        (["--suffix", ".caption"], "--suffix names files beside photos; give --sidecar too"),
        (["--sidecar", "--suffix", "a/b"], "--suffix 'a/b': expected one like .txt or .caption"),
        (["--sidecar", "--suffix", ".PNG"], "--suffix .PNG is that of other files; give .txt or"),
        (["--sidecar", "--suffix", ".xmp"], "--suffix .xmp is that of other files; give .txt or"),
        (["--prepend", "x", "--out", "x.csv"], "--prepend is for what is written; give --sidecar"),
        (["--append", "x"], "--append is for what is written; give --sidecar or --out metadata.js"),
        (
            ["--json", "--out", "x.csv"],
            "--json prints, and --out writes a file of its own form",
        ),
    ],
)
def test_options_that_would_not_count_are_refused(mrnn, album, options, message):
    code, out, err = mrnn("caption", album, *options)
    assert (code, out) == (1, "")
    assert err.startswith(f"mrnn: {message}")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_one_file_has_one_number_of_captions_a_photo(mrnn, model, album, tmp_path, suffix):
    out = tmp_path / f"captions{suffix}"
    arguments = ("caption", album, "--model", model, "--out", out)
    assert mrnn(*arguments, "--n-best", 3)[0] == 0
    content = out.read_bytes()
    code, _, err = mrnn(*arguments, "--n-best", 1)
    assert code == 1
    told = f"{out} has up to 3 captions a photo, not 1; give another file, or --n-best 3"
    assert err == f"mrnn: {told}\n"
    assert out.read_bytes() == content


def png_header(side):
    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_weights_that_take_no_effect_are_told(mrnn, model, model_with_heads, album):
    weights = ("--predicted-cider-weight", "1", "--similarity-weight", "1")
    greedy = ("caption", album, "--model", model_with_heads, "--beam-size", "1")
    _, out, err = mrnn(*greedy, *weights)
    why = "ignored: reranking needs plain beam search with at least two hypotheses"
    notes = [f"Note: --similarity-weight: {why}", f"Note: --predicted-cider-weight: {why}"]
    assert err.splitlines() == notes
    assert (out, "") == mrnn(*greedy)[1:]
    (model / "heads.safetensors").unlink()
    _, out, err = mrnn("caption", album, "--model", model, "--similarity-weight", "1")
    why = "ignored: this model has no heads; run mrnn train-heads"
    assert err == f"Note: --similarity-weight: {why}\n"
    assert (out, "") == mrnn("caption", album, "--model", model)[1:]


def test_each_bad_photo_is_a_line_and_the_others_are_done(mrnn, model, album):
    good = album / "a b.png"
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(album / "cut.jpg")
    contents = {
        "text.jpg": b"not a photo",
        "cut.jpg": (album / "cut.jpg").read_bytes()[:900],
        "empty.jpg": b"",
        "huge.png": png_header(20_000),
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    for name, content in contents.items():
        (album / name).write_bytes(content)
    (album / "dangling.jpg").symlink_to(album / "nowhere.jpg")
    os.mkfifo(album / "pipe.jpg")
    bad = [album / name for name in (*contents, "dangling.jpg", "pipe.jpg", "missing.jpg")]
    paths = [good, *bad, album / "sub"]
    code, out, err = mrnn("caption", *paths, "--model", model, "--json")
    assert code == 1
    *told, summary = err.splitlines()
    assert len(told) == len(bad)
    for line, path in zip(told, bad, strict=True):
        assert line.startswith(f"{path}: ")
    assert summary == "8 of 10 photos could not be captioned"
    results = lines_of(out)
    assert [result["image"] for result in results] == [*map(str, paths[:-1]), f"{album}/sub/é.png"]
    assert [result["error"] for result in results if result["error"]] == told


def test_a_list_on_stdin(mrnn, model, album, monkeypatch):
    def listed(content, *options):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return mrnn("caption", "-", "--model", model, "--json", *options)

    paths = [f"{album}/a b.png", f"{album}/sub"]
    for content in ("\n".join(paths), "\0".join(paths), "\r\n".join([*paths, "", ""])):
        code, out, err = listed(content.encode())
        assert (code, err) == (0, "")
        assert [result["image"] for result in lines_of(out)] == [paths[0], f"{album}/sub/é.png"]
    code, out, _ = listed(f"{paths[0]}\n{album}/sub/é.png".encode(), "--exclude", "sub/")
    assert (code, [result["image"] for result in lines_of(out)]) == (0, paths[:1])
    told = "mrnn: -: the list on stdin is empty; give it a path a line\n"
    assert listed(b"\n") == (1, "", told)
    monkeypatch.setattr(sys, "stdin", None)
    assert mrnn("caption", "-", "--model", model) == (1, "", told)


def test_a_folder_that_cannot_be_searched_costs_itself_alone(mrnn, model, album, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("/sub"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (album / "empty").mkdir()
    code, out, err = mrnn("caption", album, album / "empty", "--model", model, "--json")
    assert (code, len(lines_of(out))) == (1, 3)
    first, second, last = err.splitlines()
    assert first.startswith(f"{album}/sub: cannot list this folder (Permission denied); change")
    assert second.startswith(f"{album}/empty: no photos in this folder")
    assert last == "2 of the folders and globs had no photos or could not be searched"


def test_an_output_that_has_the_name_of_a_text_beside_a_photo(mrnn, model, album):
    out = album / "a b.csv"
    arguments = ("--out", out, "--sidecar", "--suffix", ".csv", "--existing", "overwrite")
    code, _, err = mrnn("caption", album, "--model", model, *arguments)
    assert code == 1
    assert "(a b.csv is a photo or the output of this run; rename it)" in err
    assert out.read_bytes().count(b"\n") == 5


def test_the_help_names_what_is_left_out(mrnn):
    text = " ".join(mrnn("caption", "--help")[1].split())
    assert all(name in text for name in SYSTEM_FOLDERS)


def test_a_photo_is_done_under_another_path(mrnn, model, album, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "a.CSV"
    assert mrnn("caption", "my photos", "--model", model, "--out", out)[0] == 0
    content = out.read_bytes()
    code, _, err = mrnn("caption", album, "my photos//./sub", "--model", model, "--out", "a.CSV")
    assert (code, err) == (0, "a.CSV: 4 photos are done already\n")
    assert out.read_bytes() == content


def test_two_runs_at_once_are_not_one_file(mrnn, model, album, tmp_path):
    out = tmp_path / "a.csv"
    with locked(out):
        code, _, err = mrnn("caption", album, "--model", model, "--out", out)
    assert code == 1
    assert err == f"mrnn: {out} is being written by another mrnn; wait until it is done\n"
    assert not out.exists()


def test_an_output_is_no_photo_and_no_file_of_others(mrnn, model, album, tmp_path):
    photo = (album / "a b.png").rename(album / "a.csv")
    content = photo.read_bytes()
    code, _, err = mrnn("caption", photo, "--model", model, "--out", photo)
    assert code == 1
    assert err == f"mrnn: --out {photo} is an input of this command; name another file\n"
    (tmp_path / "mine.csv").write_text("a,b\n")
    code, _, err = mrnn("caption", photo, "--model", model, "--out", tmp_path / "mine.csv")
    assert (code, photo.read_bytes()) == (1, content)
    assert "mine.csv exists and was not written by `mrnn caption`; give another file" in err


def test_an_image_folder(mrnn, model, album):
    out = album / "metadata.jsonl"
    arguments = ("caption", album, "--model", model, "--out", out, "--prepend", "sks, ")
    assert mrnn(*arguments)[0] == 0
    rows = lines_of(out.read_text(encoding="utf-8"))
    assert sorted(row["file_name"] for row in rows) == [
        *("a b.png", "comma, 'and' \"quotes\".png", "emoji 🐕.png", "sub/é.png")
    ]
    assert all(row["text"].startswith("sks, ") for row in rows)
    assert mrnn(*arguments)[2] == f"{out}: 4 photos are done already\n"
    code, _, err = mrnn("caption", album, "--model", model, "--out", album / "sub/metadata.jsonl")
    assert (code, "is not below" in err) == (1, True)


def test_files_beside_photos_and_a_file_for_all(mrnn, model, album, tmp_path):
    out = tmp_path / "a.jsonl"
    arguments = ("caption", album, "--model", model)
    assert mrnn(*arguments, "--out", out)[0] == 0
    both = (*arguments, "--out", out, "--sidecar", "--xmp", "--suffix", ".caption")
    code, _, err = mrnn(*both)
    assert code == 0
    assert err.splitlines() == [
        f"{out}: 4 photos are done already", "Text files written: 4", "XMP files written: 4"
    ]  # fmt: skip
    assert (album / "a b.xmp").exists()
    assert (album / "a b.caption").exists()
    (album / "a b.caption").unlink()
    _, _, err = mrnn(*both)
    assert err.splitlines()[1:3] == [
        "Text files written: 1",
        "Text files there already and stay; --existing overwrite replaces them: 3",
    ]


def test_json_in_a_locale_that_is_not_utf8(model, album):
    process = start(
        "caption", album, "--model", model, "--json", env={"PYTHONIOENCODING": "cp1252"}
    )
    out, _ = process.communicate(timeout=60)
    assert [Path(each["image"]).name for each in lines_of(out)][-2:] == ["emoji 🐕.png", "é.png"]
    assert out.isascii()


def test_a_name_that_is_no_utf8(mrnn, model, album, tmp_path):
    odd = album / "caf\udce9.png"
    try:
        odd.write_bytes((album / "a b.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for kind in (["--json"], [], ["--out", tmp_path / "x.csv"], ["--sidecar"]):
        code, out, _ = mrnn("caption", odd, "--model", model, *kind)
        assert code == 0
        if "--json" in kind:
            assert lines_of(out)[0]["image"].endswith("caf\\udce9.png")
    code, _, err = mrnn("caption", odd, "--model", model, "--out", tmp_path / "x.csv")
    assert (code, err) == (0, f"{tmp_path}/x.csv: 1 photo is done already\n")
    assert odd.with_suffix(".txt").exists()
