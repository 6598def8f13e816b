import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import lines_of


@pytest.fixture
def shards(mrnn, album, tmp_path):
    mrnn("shard", album, "--out", tmp_path / "shards", "--size", 3)
    return tmp_path / "shards"


def rows(folder):
    files = sorted(folder.glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()


def plain(mrnn, album, model, *options):
    _, out, _ = mrnn("caption", album, "--model", model, "--json", *options)
    return lines_of(out)


def test_captions_are_those_of_the_photos(mrnn, model, album, shards, tmp_path):
    out = tmp_path / "captions"
    command = ("caption", f"{shards}/*.tar", "--model", model, "--n-best", 3, "--out", out)
    assert mrnn(*command) == (0, "", f"Wrote {out}: 4 photos of 2 shards captioned\n")
    for row, expected in zip(rows(out), plain(mrnn, album, model, "--n-best", 3), strict=True):
        assert row["key"] in expected["image"]
        assert row["caption"] == expected["captions"][0]["text"]
        assert row["captions"] == [
            {name: caption[name] for name in ("text", "log_probability")}
            for caption in expected["captions"]
        ]
        assert row["familiarity"] == expected["familiarity"]
    assert mrnn(*command) == (0, "", f"{out}: 2 shards are done already\n")


def test_parts_share_a_folder(mrnn, model, shards, tmp_path):
    out = tmp_path / "captions"
    command = ("caption", shards, "--model", model, "--out", out)
    for part in (2, 1, 3):
        assert mrnn(*command, "--part", f"{part}/3")[0] == 0
    assert mrnn(*command) == (0, "", f"{out}: 2 shards are done already\n")


@pytest.mark.parametrize("kind", ["list", "metadata", "parquet", "json lines"])
def test_other_shards(mrnn, model, album, tmp_path, kind):
    names = ("a b.png", "emoji 🐕.png")
    given = tmp_path / "given"
    given.mkdir()
    if kind == "parquet":
        contents = [(album / name).read_bytes() for name in names]
        pq.write_table(pa.table({"key": names, "image": contents}), given / "x.parquet")
    elif kind == "metadata":
        lines = [json.dumps({"file_name": f"../my photos/{name}"}) for name in names]
        (given / "metadata.jsonl").write_text("\n".join(lines))
    else:
        given = given / "x.lst"
        given.write_text("\n".join(str(album / name) for name in names))
    out = tmp_path / "captions"
    options = ("--format", "jsonl") if kind == "json lines" else ()
    code, _, err = mrnn("caption", given, "--model", model, "--out", out, *options)
    assert (code, err) == (0, f"Wrote {out}: 2 photos of 1 shard captioned\n")
    texts = {result["captions"][0]["text"] for result in plain(mrnn, album, model)[:2]}
    if options:
        (file,) = out.glob("*.jsonl")
        assert {line["captions"][0]["text"] for line in lines_of(file.read_text())} == texts
    else:
        assert {row["caption"] for row in rows(out)} == texts


def test_what_is_wrong_is_a_line_each_and_the_rest_is_done(mrnn, model, album, shards, tmp_path):
    (shards / "shard-000002.tar").write_bytes(b"no tar")
    (album / "bad.png").write_bytes(b"no photo")
    mrnn("shard", album / "bad.png", "--out", tmp_path / "bad")
    (tmp_path / "bad" / "shard-000000.tar").rename(shards / "bad.tar")
    out = tmp_path / "captions"
    code, _, err = mrnn("caption", shards, "--model", model, "--out", out)
    bad, cut, wrote, photos, left = err.splitlines()
    assert code == 1
    assert bad.startswith(f"{shards}/bad.tar: bad: not a photo (")
    assert cut.startswith(f"{shards}/shard-000002.tar: no tar file (")
    assert wrote == f"Wrote {out}: 4 photos of 3 shards captioned"
    assert photos == "1 of 5 photos could not be captioned"
    assert left == "1 of 4 shards have no result: shard-000002"
    assert [bool(row["error"]) for row in rows(out)] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--part", "0/4"], "--part 0/4: expected K/N with K from 1 to N, such as 3/16"),
        (["--part", "5/4"], "--part 5/4: expected K/N with K from 1 to N, such as 3/16"),
        (["--part", "half"], "--part half: expected K/N with K from 1 to N, such as 3/16"),
        (
            ["--format", "tar", "--with-images"],
            "--with-images is for --format parquet, not tar; leave it out",
        ),
        (["--workers", 2], "--workers is for a Ray cluster; give --engine ray too"),
        (["--address", "auto"], "--address is for a Ray cluster; give --engine ray too"),
        (
            ["--engine", "ray", "--device", "auto"],
            "--engine ray runs on processors; leave out --device",
        ),
        (["--sidecar"], "--sidecar is for photos, not for shards; leave it out"),
    ],
)
def test_options_that_do_not_go_together(mrnn, model, shards, tmp_path, options, told):
    command = ("caption", shards, "--model", model, "--out", tmp_path / "out", *options)
    assert mrnn(*command) == (1, "", f"mrnn: {told}\n")
    assert not (tmp_path / "out").exists()


def test_a_part_may_have_no_shards(mrnn, model, shards, tmp_path):
    command = ("caption", shards, "--model", model, "--out", tmp_path / "out")
    told = "Part 3/3 has nothing to do: 2 shards in all\n"
    assert mrnn(*command, "--part", "3/3") == (0, "", told)


def test_shards_need_a_folder(mrnn, shards):
    told = (
        "mrnn: Shards are captioned into a folder: give --out FOLDER, and --format jsonl for "
        "lines\n"
    )
    assert mrnn("caption", f"{shards}/*.tar") == (1, "", told)
    assert mrnn("caption", f"{shards}/*.tar", "--out", "x.csv") == (1, "", told)


def test_photos_have_no_parts(mrnn, album):
    told = "mrnn: --part is for shards; make some with mrnn shard, and give --out FOLDER\n"
    assert mrnn("caption", album, "--part", "1/2") == (1, "", told)


def test_results_stay_on_this_machine(mrnn, model, shards):
    code, _, err = mrnn("caption", shards, "--model", model, "--out", "s3://bucket/captions")
    assert code == 1
    assert "results go to a folder of this machine; name one" in err


def test_an_output_folder_of_other_options_is_refused(mrnn, model, shards, tmp_path):
    command = ("caption", shards, "--model", model, "--out", tmp_path / "out")
    mrnn(*command)
    code, _, err = mrnn(*command, "--beam-size", 5)
    assert (code, err) == (
        1,
        f"mrnn: {tmp_path}/out was made with --beam-size 3, not 5; give another folder, or remove "
        "this one\n",
    )


def test_the_shards_themselves_are_never_replaced(mrnn, model, shards):
    before = {file: file.read_bytes() for file in shards.iterdir()}
    command = ("caption", shards, "--model", model, "--out", shards, "--format", "tar")
    code, _, err = mrnn(*command)
    assert code == 1
    assert "holds something else, 'shard-0000" in err
    assert {file: file.read_bytes() for file in shards.iterdir()} == before


def test_weights_that_take_no_effect_are_told(mrnn, model, shards, tmp_path):
    command = ("caption", shards, "--model", model, "--out", tmp_path / "out")
    _, _, err = mrnn(*command, "--similarity-weight", 1)
    assert err.startswith(
        "Note: --similarity-weight: ignored: this model has no heads; run mrnn train-heads\n"
    )
