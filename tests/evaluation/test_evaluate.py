from dataclasses import replace

import numpy as np
import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import Consensus
from mrnn.data.dataset import CaptionedImage
from mrnn.data.images import load_image
from mrnn.errors import DataError
from mrnn.evaluation.evaluate import describe_decoding, evaluate, generate, references_of
from mrnn.evaluation.perplexity import evaluate_perplexity
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import cider_d
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.tokenizer import EncodedCaptions


@pytest.fixture
def captioner(checkpoint, colour_encoder):
    return Captioner(checkpoint, colour_encoder)


@pytest.fixture
def images(colours):
    return colours.images


@pytest.fixture
def features(images, colour_encoder):
    photos = [load_image(image.path) for image in images]
    return np.stack([colour_encoder.encode(colour_encoder.preprocess(p)) for p in photos])


def options_of(captioner):
    config = captioner.checkpoint.config
    return config.decoding, config.reranking


def test_figures_are_those_of_the_parts(captioner, images, features):
    report = evaluate(captioner, images, features, with_meteor=False)
    references = [
        [caption.lower().replace(".", "").split() for caption in image.captions] for image in images
    ]
    captions = EncodedCaptions.of(references, captioner.checkpoint.vocabulary)
    found = evaluate_perplexity(captioner.checkpoint.network, captions, features)
    assert report.perplexity == found.perplexity
    assert report.perplexity_without_eos == found.perplexity_without_eos
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
    options = DecodingOptions(beam_size=2, max_length=4)
    report = evaluate(captioner, images[:5], features[:5], decoding=options, with_meteor=False)
    assert report.settings == {
        "recipe": "tiny",
        "encoder": str(captioner.encoder.identity),
        "images": 5,
        "references": 10,
        "words": 35,
        "unknown_words": 0,
        "vocabulary_words": len(captioner.checkpoint.vocabulary),
        "perplexity": "words, <unk> and <eos> counted",
        "perplexity_without_eos": "the same without <eos>",
        "protocol": "c2",
        "tokenizer": "PTB, lower case, without punctuation",
        "document_frequencies_of": "these references",
        "bleu": "corpus, nearest reference length",
        "meteor": "corpus, METEOR 1.5 for English",
        "rouge_l": "mean, beta 1.2",
        "cider": "mean, document frequencies of these references",
        "cider_plain": "as CIDEr-D, without clipping or length penalty",
        "invented": "fraction of named things that no reference names",
        "invented_person_or_dog": "captions that invent a person or a dog",
        "things_recall": "fraction of things in two references that the caption names",
        "distinct": "fraction of different captions",
        "novel": "fraction of captions that are no training caption, word for word",
        "resamples": 1000,
        "resampling_seed": 0,
        **options.model_dump(),
        **RerankingOptions().model_dump(),
    }


def test_settings_of_perplexity_alone_say_nothing_of_captions(captioner, images, features):
    strange = replace(images[0], captions=("a zebra",))
    report = evaluate(captioner, [strange], features[:1], tasks=["perplexity"])
    assert (report.settings["words"], report.settings["unknown_words"]) == (2, 1)
    assert report.settings["protocol"] == "c1"
    assert not {"beam_size", "bleu", "document_frequencies_of"} & report.settings.keys()


def test_weights_without_effect_are_said_to_have_none(captioner, images, features):
    decoding = DecodingOptions(beam_size=2, max_length=4)
    reranking = RerankingOptions(similarity_weight=2, predicted_cider_weight=1)
    report = evaluate(
        captioner, images[:2], features[:2],
        decoding=decoding, reranking=reranking, with_meteor=False,
    )  # fmt: skip
    settings = report.settings
    assert settings["similarity_weight"] == settings["predicted_cider_weight"] == 0
    assert report.notes[:2] == [
        "similarity_weight: ignored: this model has no heads; run mrnn train-heads",
        "predicted_cider_weight: ignored: this model has no heads; run mrnn train-heads",
    ]


def test_weights_of_a_model_with_heads_take_effect(model_with_heads, images, features):
    captioner = Captioner.for_features(model_with_heads)
    report = evaluate(
        captioner, images, features,
        tasks=["generation"], decoding=DecodingOptions(beam_size=50, max_length=4),
        reranking=RerankingOptions(similarity_weight=50), with_meteor=False,
    )  # fmt: skip
    assert report.settings["similarity_weight"] == 50
    for image, caption in zip(images, report.captions, strict=True):
        colour = image.name.removesuffix(".png").split("-")[2]
        assert colour in caption  # the heads know colours, the network does not
    assert report.notes[-1] == "meteor: not asked for"


def test_consensus_is_among_the_settings(checkpoint, images, features):
    captioner = Captioner(checkpoint, consensus=Consensus())
    report = evaluate(captioner, images, features, tasks=["generation"], with_meteor=False)
    expected = Consensus().settings(10, reranked=False)
    assert expected.items() <= report.settings.items()


def test_decoding_is_described():
    settings = DecodingOptions(beam_size=2, n_best=5, force_words=("red",)).model_dump()
    settings |= RerankingOptions(similarity_weight=3).model_dump()
    plain = "beam_size 2, length_penalty 0.7, force_words ('red',), similarity_weight 3.0"
    assert describe_decoding(settings) == plain
    settings |= Consensus().settings(12, reranked=True)
    assert describe_decoding(settings) == (
        f"{plain}, reranked by consensus (self; by cider, 12 hypotheses, model_weight 0.5)"
    )


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
    at_once = generate(captioner, features, *options_of(captioner))
    monkeypatch.setattr("mrnn.evaluation.evaluate.IMAGES_AT_ONCE", 1)
    assert generate(captioner, features, *options_of(captioner)) == at_once
    assert len(at_once) == len(features)


def test_memory_mapped_features_give_the_same(captioner, features, tmp_path):
    np.save(tmp_path / "features.npy", features.astype(np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    options = options_of(captioner)
    assert generate(captioner, mapped, *options) == generate(captioner, features, *options)


def test_references_are_tokenized(images):
    assert references_of(images[:1]) == [(("a", "red", "wall"), ("the", "wall", "is", "red"))]


def test_nothing_to_compare_with(tmp_path):
    with pytest.raises(DataError, match=r"^There are no images to evaluate on$"):
        references_of([])
    bare = CaptionedImage("bare.jpg", tmp_path / "bare.jpg", "test", ())
    with pytest.raises(DataError, match=r"^bare\.jpg has no caption to compare with; run `mrnn ch"):
        references_of([bare])
