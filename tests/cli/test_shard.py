import tarfile


def test_photos_to_shards_and_again(mrnn, album, tmp_path):
    out = tmp_path / "shards"
    code, text, err = mrnn("shard", album, "--out", out, "--size", 3)
    assert (code, text, err) == (0, "", f"Wrote {out}: 4 photos in 2 shards\n")
    names = []
    for file in sorted(out.iterdir()):
        with tarfile.open(file) as archive:
            names += [file.name, *archive.getnames()]
    assert names == [
        "shard-000000.tar", "a b.png", "comma, 'and' \"quotes\".png", "emoji 🐕.png",
        "shard-000001.tar", "sub/é.png",
    ]  # fmt: skip
    assert mrnn("shard", album, "--out", out, "--size", 3) == (
        0, "", f"{out}: 2 shards were there already\n",
    )  # fmt: skip


def test_a_photo_that_is_not_there(mrnn, album, tmp_path):
    out = tmp_path / "shards"
    code, _, err = mrnn("shard", album, album / "gone.jpg", "--out", out)
    assert (code, err) == (
        1,
        f"{album}/gone.jpg: no such file\nWrote {out}: 4 photos in 1 shard\n"
        "1 of 5 photos could not be read\n",
    )
