"""Each format: what is in it, and that Hugging Face's datasets read it offline."""

import json
import tarfile
from itertools import starmap

import pytest

from mrnn.bulk.formats import Format
from mrnn.bulk.outputs import open_output
from mrnn.data.shards.photo import ShardPhoto
from tests.bulk.conftest import same_photo


def test_tar(written, photos):
    file, results = written(Format.tar)
    with tarfile.open(file) as archive:
        found = {each.name: archive.extractfile(each).read() for each in archive}
    assert list(found) == ["a.jpg", "a.txt", "a.json", "a%2Eb.png", "a%2Eb.txt", "a%2Eb.json"]
    assert found["a.jpg"] == photos[0].content
    assert found["a.txt"].decode() == f"{results['a.jpg'].captions[0].text}\n"
    assert json.loads(found["a%2Eb.json"]) == json.loads(results["a.b"].model_dump_json())


def test_photos_of_a_list_that_differ_in_their_suffix_alone(caption_task, photos, tmp_path):
    task = caption_task(files=Format.tar)
    twins = [ShardPhoto(f"a{end}", photos[0].content, end) for end in (".jpg", ".png")]
    with open_output(tmp_path / "x.tar", task.job, {}) as add:
        for photo, result in task.results(twins):
            add(photo, result)
    with tarfile.open(tmp_path / "x.tar") as archive:
        names = archive.getnames()
    assert names == ["a.jpg", "a.txt", "a.json", "a%2Epng.png", "a%2Epng.txt", "a%2Epng.json"]


def test_datasets_read_tars(written, photos, load_dataset):
    photos[1] = ShardPhoto(photos[1].key, photos[1].content, ".jpg")  # all are to be of one kind
    file, results = written(Format.tar)
    rows = load_dataset("webdataset", data_files=str(file))
    assert [row["__key__"] for row in rows] == ["a", "a%2Eb"]
    assert same_photo(rows[0]["jpg"], photos[0])
    assert rows[0]["txt"].strip() == results["a.jpg"].captions[0].text
    assert rows[1]["json"]["captions"][0]["text"] == results["a.b"].captions[0].text


def test_json_lines(written):
    file, results = written(Format.jsonl)
    lines = file.read_text().splitlines()
    assert lines == [each.model_dump_json() for each in results.values()]


def test_datasets_read_json_lines(written, load_dataset):
    file, results = written(Format.jsonl)
    rows = load_dataset("json", data_files=str(file))
    assert [row["image"] for row in rows] == list(results)
    assert rows[0]["captions"][0]["text"] == results["a.jpg"].captions[0].text


def test_datasets_read_folders(written, photos, load_dataset):
    folder, results = written(Format.metadata)
    assert len(list(folder.iterdir())) == 3
    rows = load_dataset("imagefolder", data_dir=str(folder))
    assert [row["key"] for row in rows] == ["a.jpg", "a.b"]
    for row, photo in zip(rows, photos, strict=False):
        assert same_photo(row["image"], photo)
        assert row["text"] == results[photo.key].captions[0].text


def test_a_folder_replaces_one_that_was_not_whole(written, tmp_path):
    (tmp_path / "out.metadata").mkdir()
    (tmp_path / "out.metadata" / "000000.png").touch()
    folder, _ = written(Format.metadata)
    assert sorted(file.name for file in folder.iterdir()) == [
        "000000.jpg", "000001.png", "metadata.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", list(Format))
def test_an_output_is_whole_or_not_there(caption_task, photos, tmp_path, kind):
    task = caption_task(files=kind)
    folder = tmp_path / "empty"
    folder.mkdir()

    def fail():
        yield from task.results(photos)
        raise KeyError("the last one")

    with pytest.raises(KeyError), open_output(folder / "x", task.job, {}) as add:
        list(starmap(add, fail()))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", list(Format))
def test_the_same_results_give_the_same_bytes(written, kind):
    contents = []
    for _ in range(2):
        file, _ = written(kind)
        files = [file] if file.is_file() else sorted(file.iterdir())
        contents.append([each.read_bytes() for each in files])
    assert contents[0] == contents[1]
