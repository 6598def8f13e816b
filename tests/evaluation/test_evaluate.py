from dataclasses import replace

import numpy as np
import pytest
import torch

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import Consensus
from mrnn.data.dataset import CaptionedImage
from mrnn.data.features import extract_features, load_features
from mrnn.errors import DataError
from mrnn.evaluation.evaluate import decoding_told, evaluate, generate, references_of
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import cider_d
from mrnn.model.config import DecodingOptions
from mrnn.retrieval.likelihood import perplexity
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.batches import batches


@pytest.fixture
def captioner(checkpoint, colour_encoder):
    return Captioner(checkpoint, colour_encoder)


@pytest.fixture
def images(colours):
    return colours.images


@pytest.fixture
def features(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return load_features(colours, colour_encoder.identity).of(colours.images)


def by_hand(model, words, feature):
    """log2 of the probability of each word of a sentence, its end sign left out."""
    inputs = torch.from_numpy(np.concatenate([[Vocabulary.BOS], words]))[None]
    with torch.inference_mode():
        logits = model(inputs, torch.from_numpy(feature.astype(np.float32))[None])[0]
    return [float(logits[i].log_softmax(-1)[word]) / np.log(2) for i, word in enumerate(words)]


def test_figures_are_those_of_the_parts(captioner, images, features):
    report = evaluate(captioner, images, features, with_meteor=False)
    references = [
        [caption.lower().replace(".", "").split() for caption in image.captions] for image in images
    ]
    captions = EncodedCaptions.of(references, captioner.checkpoint.vocabulary)
    model = captioner.checkpoint.model
    assert report.perplexity == pytest.approx(perplexity(model, batches(captions, features, 7)))
    words = report.settings["words"]
    assert words == sum(len(sentence) for sentences in references for sentence in sentences)
    by_word = [
        by_hand(model, np.array(captioner.checkpoint.vocabulary.encode(sentence)), feature)
        for sentences, feature in zip(references, features, strict=True)
        for sentence in sentences
    ]
    bits = -sum(map(sum, by_word)) / words
    assert report.perplexity_without_end == pytest.approx(2**bits, rel=1e-5)
    said = [captioner.caption(image.path).captions[0].text.split() for image in images]
    generation = report.generation
    assert (
        generation.bleu_1, generation.bleu_2, generation.bleu_3, generation.bleu_4
    ) == pytest.approx(corpus_bleu(said, references))  # fmt: skip
    assert generation.cider == pytest.approx(cider_d(said, references).mean())
    assert (generation.meteor, report.notes) == (None, ["meteor: not asked for"])
    low, high = report.intervals["cider"]
    assert low <= generation.cider <= high
    assert [caption.split() for caption in report.captions] == said
    assert "captions" not in report.model_dump()
    assert generation.distinct == pytest.approx(len(set(map(tuple, said))) / len(images))


def test_settings_say_what_was_measured(captioner, images, features):
    options = DecodingOptions(beam_size=2, maximum_words=4)
    report = evaluate(captioner, images[:5], features[:5], options=options, with_meteor=False)
    assert report.settings == {
        "recipe": "tiny",
        "encoder": str(captioner.encoder.identity),
        "images": 5,
        "references": 10,
        "words": 35,
        "unknown_words": 0,
        "vocabulary_words": len(captioner.checkpoint.vocabulary),
        "perplexity": "words, unknown ones as one sign, and end signs",
        "perplexity_without_end": "the same, without end signs",
        "protocol": "c2",
        "tokenizer": "PTB, lower case, without punctuation",
        "document_frequencies_of": "these references",
        "bleu": "corpus, nearest reference length",
        "meteor": "corpus, METEOR 1.5 for English",
        "rouge_l": "mean, beta 1.2",
        "cider": "mean, document frequencies of these references",
        "cider_plain": "as CIDEr-D, without clipping or length penalty",
        "distinct": "fraction of different captions",
        "novel": "fraction of captions that are no training caption, word for word",
        "resamples": 1000,
        "resampling_seed": 0,
        **options.model_dump(),
    }


def test_settings_of_perplexity_alone_say_nothing_of_captions(captioner, images, features):
    strange = replace(images[0], captions=("a zebra",))
    report = evaluate(captioner, [strange], features[:1], tasks=["perplexity"])
    assert (report.settings["words"], report.settings["unknown_words"]) == (2, 1)
    assert report.settings["protocol"] == "c1"
    assert not {"beam_size", "bleu", "document_frequencies_of"} & report.settings.keys()


def test_likeness_that_cannot_count_is_not_said_to(captioner, images, features):
    options = DecodingOptions(beam_size=2, maximum_words=4, likeness=2, expected_cider=1)
    report = evaluate(captioner, images[:2], features[:2], options=options, with_meteor=False)
    assert report.settings["likeness"] == report.settings["expected_cider"] == 0
    assert report.notes[:2] == [
        "likeness: left out, as the model has not learned to rank; run mrnn train-ranking",
        "expected_cider: left out, as the model has not learned to rank; run mrnn train-ranking",
    ]


def test_the_options_of_decoding_are_told(captioner):
    settings = DecodingOptions(beam_size=2, n_best=5, must=("red",)).model_dump()
    plain = "beam_size 2, length_exponent 0.7, must ('red',)"
    assert decoding_told(settings) == plain
    settings |= Consensus().settings(12, judged=True)
    assert decoding_told(settings) == (
        f"{plain}, re-ranked by consensus (self; by cider, 12 hypotheses, "
        "likelihood and expected CIDEr 0.5 times)"
    )


def test_intervals_of_perplexity_are_over_images(captioner, images, features):
    def intervals(count, seed=0):
        report = evaluate(
            captioner, images[:count], features[:count], tasks=["perplexity"], seed=seed
        )
        return report, report.intervals

    report, found = intervals(len(images))
    for key in ("perplexity", "perplexity_without_end"):
        low, high = found[key]
        assert low < getattr(report, key) < high
    assert found == intervals(len(images))[1] != intervals(len(images), seed=1)[1]
    report, found = intervals(1)  # drawn again and again, one image is itself
    assert found["perplexity"] == pytest.approx((report.perplexity, report.perplexity))


def test_captions_that_training_had_are_not_new(captioner, images, features):
    alone = evaluate(captioner, images, features, tasks=["generation"], with_meteor=False)
    assert alone.generation.novel is None
    said = sorted(set(alone.captions))
    had = replace(images[0], captions=(f"{said[0].upper()} .",))
    report = evaluate(
        captioner, images, features, tasks=["generation"], training=[had], with_meteor=False
    )
    expected = 1 - alone.captions.count(said[0]) / len(images)
    assert report.generation.novel == pytest.approx(expected)
    assert expected < 1


@pytest.mark.parametrize(
    ("tasks", "missing"),
    [(["perplexity"], "generation"), (["generation"], "perplexity")],
)
def test_only_what_was_asked_for(captioner, images, features, tasks, missing):
    report = evaluate(captioner, images, features, tasks=tasks, with_meteor=False)
    assert getattr(report, missing) is None
    assert getattr(report, tasks[0]) is not None


def test_photos_are_counted_as_they_are_done(captioner, images, features, monkeypatch):
    monkeypatch.setattr("mrnn.evaluation.evaluate.IMAGES_AT_ONCE", 7)
    counts = []
    evaluate(captioner, images, features, with_meteor=False, on_image=counts.append)
    assert counts == [7, 7, 7, 7, 2]


def test_blocks_do_not_change_what_is_said(captioner, features, monkeypatch):
    at_once = generate(captioner, features, captioner.checkpoint.decoding)
    monkeypatch.setattr("mrnn.evaluation.evaluate.IMAGES_AT_ONCE", 1)
    assert generate(captioner, features, captioner.checkpoint.decoding) == at_once
    assert len(at_once) == len(features)


def test_memory_mapped_features_give_the_same(captioner, colours, colour_encoder, features):
    mapped = np.load(extract_features(colours, colour_encoder), mmap_mode="r")
    options = captioner.checkpoint.decoding
    assert generate(captioner, mapped, options) == generate(captioner, features, options)


def test_references_are_tokenized(images):
    assert references_of(images[:1]) == [[["a", "red", "wall"], ["the", "wall", "is", "red"]]]


def test_nothing_to_compare_with(tmp_path):
    with pytest.raises(DataError, match=r"^There are no images to evaluate on$"):
        references_of([])
    bare = CaptionedImage("bare.jpg", tmp_path / "bare.jpg", "test", ())
    with pytest.raises(DataError, match=r"^bare\.jpg has no caption to compare with; run `mrnn ch"):
        references_of([bare])
