import os
import tarfile

import pytest

from mrnn.data.photos.paths import find_images
from mrnn.data.shards import making
from mrnn.data.shards.making import make_shards
from mrnn.data.shards.tar import read_tar
from mrnn.errors import DataError
from tests.data.shards.photos import photo


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    names = ("b.png", "a.png", "a.jpg", "c.d.png", "2024/a.png", "Ü b.PNG")
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo(number))
    (folder / "b.txt").write_text("a wall")
    (folder / "b.json").write_text("{}")
    (folder / "2024" / "a.txt").mkdir()
    return folder


def keyed_photos(named):
    return making.keyed_photos(find_images(named), named)


def members(folder):
    found = {}
    for file in sorted(folder.glob("*.tar")):
        with tarfile.open(file) as archive:
            found[file.name] = archive.getnames()
    return found


def make(photos, out, size=4):
    told, done = [], []
    made = make_shards(photos, out, size, lambda: done.append(1), told.append)
    assert len(done) == len(photos)
    return made, told


def test_photos_as_they_are_with_the_texts_beside_them(album, tmp_path):
    out = tmp_path / "shards"
    made, told = make(keyed_photos([str(album)]), out)
    assert (made.shards, made.photos, made.failed, told) == (2, 6, 0, [])
    assert members(out) == {
        "shard-000000.tar": ["2024/a.png", "a.jpg", "a%2Epng.png", "b.png", "b.txt", "b.json"],
        "shard-000001.tar": ["c%2Ed.png", "Ü b.png"],
    }
    with (out / "shard-000000.tar").open("rb") as stream:
        found = {each.key: each.content for each in read_tar(stream, "x")}
    assert found == {"2024/a": photo(4), "a": photo(2), "a%2Epng": photo(1), "b": photo(0)}


def test_the_same_bytes_in_whatever_order_they_are_named(album, tmp_path):
    photos = [str(path) for path in album.rglob("*") if path.suffix.lower() in (".png", ".jpg")]
    make(keyed_photos([str(album)]), tmp_path / "one")
    for number, names in enumerate((photos, photos[::-1], [f"{album}/**/*", str(album)])):
        os.utime(photos[0], (number, number))
        make(keyed_photos(names), tmp_path / str(number))
        for file in (tmp_path / "one").iterdir():
            assert (tmp_path / str(number) / file.name).read_bytes() == file.read_bytes()


def test_keys_are_below_the_folder_that_all_share(tmp_path):
    for name in ("x/1/a.png", "x/2/a.png", "y/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photo())

    def keys(*paths):
        return [each.key for each in keyed_photos([f"{tmp_path}/{path}" for path in paths])]

    assert keys("x") == ["1/a", "2/a"]
    assert keys("x/*/a.png") == ["1/a", "2/a"]
    assert keys("x/1/a.png") == ["a"]
    assert keys("x/1", "y") == ["x/1/a", "y/a"]


def test_keys_are_unique_whatever_the_suffixes(tmp_path):
    for name in ("a.jpg", "a.png", "a.png.jpg", "a.gif"):
        (tmp_path / name).write_bytes(photo())
    found = keyed_photos([str(tmp_path)])
    assert len({each.key for each in found}) == 4


def test_a_photo_that_cannot_be_read_is_a_line(album, tmp_path):
    (album / "x.txt").write_text("no photo")
    paths = [str(album), f"{album}/gone.png", f"{album}/x.txt"]
    made, told = make(keyed_photos(paths), tmp_path / "out", 100)
    assert (made.photos, made.failed) == (6, 2)
    assert told[0] == f"{album}/gone.png: no such file"
    assert told[1].startswith(f"{album}/x.txt: no name of a photo; they end in .jpg, ")
    again, _ = make(keyed_photos(paths), tmp_path / "out", 100)
    assert (again.kept, again.shards) == (1, 0)


def test_shards_that_are_there_stay(album, tmp_path):
    out, photos = tmp_path / "out", keyed_photos([str(album)])
    make(photos, out)
    (out / "shard-000001.tar").unlink()
    os.utime(out / "shard-000000.tar", (1, 1))
    made, _ = make(photos, out)
    assert (made.shards, made.kept, made.photos) == (1, 1, 2)
    assert (out / "shard-000000.tar").stat().st_mtime == 1


@pytest.mark.parametrize("change", ["size", "fewer", "other", "damaged"])
def test_shards_of_other_photos_are_refused(album, tmp_path, change):
    out, size = tmp_path / "out", 2
    make(keyed_photos([str(album)]), out, size)
    if change == "size":
        size = 3
    elif change == "fewer":
        (album / "a.jpg").unlink()
        (album / "a.png").unlink()
    elif change == "other":
        (album / "a.jpg").write_bytes(photo(99) + b"x")
    else:
        (out / "shard-000000.tar").write_bytes(b"x")
    with pytest.raises(DataError, match="holds shards of other photos, or of another --size; give"):
        make(keyed_photos([str(album)]), out, size)
