"""Text that is made to be slow: no public function needs more than seconds for it."""

import time
from contextlib import suppress

import numpy as np
import pytest

from mrnn.captioning.caption_files.coco_results import coco_ids
from mrnn.data.caption_matching import References
from mrnn.data.caption_reader import read_hypotheses, read_references
from mrnn.data.dataset import CaptionedImage, Dataset, write_dataset
from mrnn.data.imported_features import import_features
from mrnn.data.readers.coco import read_coco
from mrnn.data.readers.flickr import read_flickr
from mrnn.data.readers.iapr import read_iapr
from mrnn.data.readers.table import read_table
from mrnn.data.text import read_text_captions
from mrnn.errors import MRNNError
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import cider
from mrnn.metrics.inventions import invention_counts
from mrnn.metrics.rouge import rouge_l
from mrnn.metrics.sentence_similarity import Corpus
from mrnn.model.tags import plural
from mrnn.tokenizer import join_words, tokenize

# ruff: noqa: RUF001 (look-alike quotes and dashes are the matter of this file)
SIZE, MOST = 25_000, 100_000
SECONDS = 10
UNITS = (
    "0", "a", "A ", " ", "\t", "-", "a-", "_", "'", "a'", "’", ".", "a.", "1,", "a/", "<", "<a",
    "</a", "&", "a@", "@", "[", "(", ":", ";", "*", "½a", "½0-", "é½", "é", "e\u0301", "\u0301",
    "一", "一 ", "ก\u0e48", "\U000e0100", "http://a", "www.", "a.b", "n't", "'s ", "can ", "not ",
    "\u2028", "\\", '"', "#1", "1#1", "COCO_a", "0/", ".jpg", "_1.", "red ", "wall of ", "y",
)  # fmt: skip


def attacks():
    """Long runs of each unit, and what makes them fail at the end."""
    for unit in UNITS:
        run = unit * (SIZE // len(unit))
        yield run
        yield f"a/COCO_a2014_{run}.\té!"


def quick(function, *texts):
    """The function takes each text or refuses it, and takes seconds at most."""
    for text in texts:
        start = time.monotonic()
        with suppress(MRNNError):
            function(text)
        taken = time.monotonic() - start
        assert taken < SECONDS, f"{function}: {taken:.0f} s for {text[:20]!r}..."


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        tokenize,
        lambda text: join_words(text.split(" ")),
        lambda text: join_words([text]),
        lambda text: coco_ids([text]),
        lambda text: References({text: ("a",), "b": ("a",)}).find("c"),
        lambda text: References({"b": ("a",)}).find(text),
        plural,
    ],
    ids=["tokenize", "join", "join-one", "coco_ids", "references", "find", "plural"],
)
def test_text_functions(function):
    quick(function, *attacks())


SLOWEST = ("0" * 60_000 + "x", "½a" * 50_000, "a-" * 50_000 + "!", "<a" * 50_000, "’" * MOST)


@pytest.mark.parametrize("text", SLOWEST, ids=lambda text: text[:4])
def test_the_slowest_texts(text):
    quick(tokenize, text)
    quick(lambda name: References({name: ("a",)}).find("c"), text)
    quick(lambda name: coco_ids([name]), text)


READERS = {
    "a.json": '[{"image_id": "TEXT", "caption": "TEXT"}]',
    "b.jsonl": '{"image": "TEXT", "caption": "TEXT"}',
    "c.csv": "image,caption\nTEXT,TEXT\n",
    "d.txt": "TEXT",
    "captions.token": "TEXT#0\tTEXT\n",
    "1.eng": "<IMAGE>TEXT</IMAGE><DESCRIPTION>TEXT",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_files_of_captions(tmp_path, name):
    file = tmp_path / name
    readers = {
        "captions.token": [lambda: list(read_flickr(tmp_path, tmp_path))],
        "1.eng": [lambda: list(read_iapr(tmp_path, tmp_path))],
        "a.json": [lambda: list(read_coco([file], tmp_path))],
        "c.csv": [lambda: list(read_table([file], tmp_path))],
    }.get(name, [lambda: list(read_text_captions(file))])
    readers += [lambda: read_hypotheses(file), lambda: read_references([file])]
    for attack in attacks():
        file.write_text(READERS[name].replace("TEXT", attack.replace("\\", "/").replace('"', "'")))
        for reader in readers:
            quick(lambda _, reader=reader: reader(), attack)


@pytest.mark.parametrize(
    "words", [["red"] * 25_000, ["a", "b"] * 12_000, [str(n) for n in range(25_000)]], ids=str
)
def test_measures_of_long_captions(words):
    pair = [words], [[words[::-1], ["a", "red", "wall"]]]
    for measure in (corpus_bleu, cider, rouge_l, invention_counts):
        quick(lambda _, measure=measure: measure(*pair), "long")
    corpus = Corpus([[words, ["a"]], [["b", "c"]]])
    for kind in ("cider", "bleu"):
        quick(lambda _, kind=kind: list(corpus.compare([[words]], [np.arange(3)], kind)), "long")


def test_names_of_features(tmp_path):
    """They end in numbers, perhaps."""
    name = "a/" + "0" * 60_000 + "é"
    np.save(tmp_path / "a.npy", np.ones((1, 2), np.float32))
    (tmp_path / "ids.txt").write_text(name + "\n")
    image = CaptionedImage(name, tmp_path / "x.jpg", "train", ("a",))
    write_dataset([image], tmp_path / "data", source="test", images_root=tmp_path)
    dataset = Dataset.load(tmp_path / "data")
    quick(
        lambda _: import_features(dataset, tmp_path / "a.npy", tmp_path / "ids.txt", "mine"), name
    )
