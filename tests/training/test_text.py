from pathlib import Path

import pytest

from mrnn.data.dataset import CaptionedImage
from mrnn.errors import DataError
from mrnn.tokenizer import Vocabulary
from mrnn.training.text import read_photos_of_text, read_training_text

KNOWN = Vocabulary(["wall", "a", "red"])


def written(folder, *texts):
    files = []
    for number, text in enumerate(texts):
        files.append(folder / f"{number}.txt")
        files[-1].write_text(text)
    return files


def image(*captions):
    return CaptionedImage("a.jpg", Path("a.jpg"), "dev", captions)


def test_words_of_the_text_follow_those_of_the_pairs(tmp_path):
    files = written(tmp_path, "a house\na house is red\n", "a door is a house\n")
    text, vocabulary = read_training_text(files, [], KNOWN, min_count=2)
    assert vocabulary == Vocabulary(["wall", "a", "red", "house", "is"])
    sentences = [vocabulary.decode(sentence.tolist()) for sentence in text.captions.sentences]
    assert sentences == [
        ["a", "house"],
        ["a", "house", "is", "red"],
        ["a", "<unk>", "is", "a", "house"],
    ]
    assert text.sizes == (("0.txt", 2), ("1.txt", 1))
    assert text.left_out == 0


def test_captions_of_photos_that_are_not_trained_on_are_left_out(tmp_path):
    files = written(tmp_path, "A red wall.\na wall\n", "a red  WALL\na red wall here\n")
    text, vocabulary = read_training_text(files, [image("a red wall .", "red")], KNOWN, 1)
    assert vocabulary == Vocabulary(["wall", "a", "red", "here"])
    assert text.sizes == (("0.txt", 1), ("1.txt", 1))
    assert text.left_out == 2
    assert len(text.captions) == 2


def test_the_hash_is_of_the_captions(tmp_path):
    def hashed(text):
        return read_training_text(written(tmp_path, text), [], KNOWN, 1)[0].hash

    assert hashed("a wall\nred\n") == hashed("A wall .\n\nred\n") != hashed("a wall red\n")


def test_captions_of_one_photo_are_joined_wherever_they_stand(tmp_path):
    file = tmp_path / "t.tsv"
    file.write_text("1\ta wall\n2\ta wall here\n1\tred wall\n2\ta red\n1\tred\n")
    (plain,) = written(tmp_path, "a wall\nred\n")
    photos = read_photos_of_text([file, plain], [image("a red")], KNOWN)
    words = [[KNOWN.decode(sentence) for sentence in own] for own in photos]
    assert words == [
        [["a", "wall"], ["red", "wall"], ["red"]], [["a", "wall", "<unk>"]],
        [["a", "wall"]], [["red"]],
    ]  # fmt: skip
    assert read_photos_of_text([], [image("a red")], KNOWN) == []


def test_text_in_another_language(tmp_path):
    files = written(tmp_path, "a wall\n", "ein Haus\n")
    with pytest.raises(
        DataError, match=r"1\.txt: no word of the training captions is in it; is it text in anoth"
    ):
        read_training_text(files, [], KNOWN, 1)


def test_text_of_other_photos_alone(tmp_path):
    with pytest.raises(
        DataError, match=r"0\.txt: all its captions are of photos that are not trained on; give"
    ):
        read_training_text(written(tmp_path, "a wall\n"), [image("A wall")], KNOWN, 1)
