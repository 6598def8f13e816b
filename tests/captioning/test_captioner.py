import io

import numpy as np
import pytest
import torch
from PIL import Image

from mrnn.captioning.captioner import BATCH, NO_CHOICE, Captioner
from mrnn.captioning.results import ImageCaptions
from mrnn.errors import CheckpointError, ImageError, OptionsError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import DecodingOptions
from tests.conftest import COLOURS

FIT = ("likeness", "expected_cider")


@pytest.fixture
def captioner(checkpoint, colour_encoder):
    return Captioner(checkpoint, colour_encoder)


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


def same(found, expected):
    """Equal but for the names, and for rounding in the log-probabilities."""
    assert len(found.captions) == len(expected.captions) > 0
    for one, other in zip(found.captions, expected.captions, strict=True):
        assert one.text == other.text
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
    assert found.familiarity == pytest.approx(expected.familiarity, abs=2e-3)


# What goes in


def test_a_photo_is_a_path_an_image_an_array_or_bytes(captioner, photos):
    expected = captioner.caption(photos[0])
    assert expected.image == str(photos[0])
    image = Image.open(photos[0])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    for source, name in (
        (str(photos[0]), str(photos[0])),
        (image, "<PngImageFile>"),
        (np.asarray(image), "<ndarray>"),
        (stream.getvalue(), "<bytes>"),
    ):
        found = captioner.caption(source)
        assert found.image == name
        same(found, expected)


def test_one_photo_gives_a_result_and_several_a_list(captioner, photos):
    assert isinstance(captioner.caption(photos[0]), ImageCaptions)
    for several in (photos[:3], tuple(photos[:3]), photos[:1], []):
        found = captioner.caption(several)
        assert [result.image for result in found] == [str(path) for path in several]


def test_batches_do_not_change_what_is_said(captioner, photos):
    assert len(photos) > BATCH
    for found, path in zip(captioner.caption(photos), photos, strict=True):
        same(found, captioner.caption(path))


def test_a_stream_reads_no_further_than_it_must(captioner, photos):
    taken = []

    def sources():
        for path in photos:
            taken.append(path)
            yield path

    stream = captioner.stream(sources())
    assert next(stream).image == str(photos[0])
    assert len(taken) == BATCH
    assert len(list(stream)) == len(photos) - 1


def test_bad_photos_keep_their_places(captioner, photos, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not a photo")
    mixed = [bad, photos[0], tmp_path / "none.jpg", *photos[1:20], np.zeros(3), bad]
    found = captioner.caption(mixed)
    assert len(found) == len(mixed)
    for source, result in zip(mixed, found, strict=True):
        if source in (photos[:20]) if not isinstance(source, np.ndarray) else False:
            assert result.error is None
            assert result.image == str(source)
            same(result, captioner.caption(source))
        else:
            assert result.error
            assert result.captions == ()
            assert result.familiarity is None
    assert found[0].error.startswith(f"{bad}: not a JPEG")
    assert found[2].error.endswith("none.jpg: no such file")
    assert found[-2].error.startswith("array: shape (3,)")
    assert str(found[2]) == f"({found[2].error})"
    assert str(found[1]) == found[1].captions[0].text


def test_a_batch_of_bad_photos_alone(captioner, tmp_path):
    assert [r.error is None for r in captioner.caption([tmp_path / "a", tmp_path / "b"])] == [
        *(False, False)
    ]


def test_a_single_bad_photo_raises(captioner, tmp_path):
    with pytest.raises(ImageError, match=r"none\.jpg: no such file$"):
        captioner.caption(tmp_path / "none.jpg")


def test_a_name_that_is_no_utf8_is_escaped(captioner, photos, tmp_path):
    path = tmp_path / "caf\udce9.png"
    try:
        path.write_bytes(photos[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    result = captioner.caption(path)
    assert result.image == f"{tmp_path}/caf\\udce9.png"
    assert "udce9" in result.model_dump_json()
    same(result, captioner.caption(photos[0]))


# What comes out


def test_words_and_the_end_sign_add_up_to_the_caption(captioner, checkpoint, photos):
    """Against the network itself, a word at a time."""
    result = captioner.caption(photos[0], DecodingOptions(n_best=4, maximum_words=5))
    pixels = captioner.encoder.preprocess(Image.open(photos[0]))
    features = torch.from_numpy(captioner.encoder.encode(pixels[None]))
    assert len(result.captions) == 4
    for caption in result.captions:
        ids = checkpoint.vocabulary.encode([word.word for word in caption.words])
        with torch.inference_mode():
            log_probs = checkpoint.model(torch.tensor([[0, *ids]]), features)[0].log_softmax(-1)
        expected = [float(log_probs[place, word]) for place, word in enumerate([*ids, 1])]
        assert [w.log_probability for w in caption.words] == pytest.approx(expected[:-1], abs=1e-4)
        assert caption.log_probability == pytest.approx(sum(expected), abs=1e-4)
        assert caption.text == " ".join(word.word for word in caption.words)


def test_options_default_to_those_of_the_model(captioner, photos):
    (caption,) = captioner.caption(photos[0]).captions
    assert len(caption.words) <= 6
    options = DecodingOptions(beam_size=1, n_best=3, maximum_words=2)
    captions = captioner.caption(photos[0], options).captions
    assert len({caption.text for caption in captions}) == 3
    assert max(len(caption.words) for caption in captions) <= 2


def test_described_features_are_captioned_as_their_photos(captioner, photos):
    pixels = np.stack([captioner.encoder.preprocess(Image.open(path)) for path in photos[:5]])
    features = torch.from_numpy(captioner.encoder.encode(pixels))
    for found, path in zip(captioner.describe(features), photos, strict=False):
        assert found[0].text == captioner.caption(path).captions[0].text


def test_familiarity_is_rounded_and_low_for_what_is_strange(captioner):
    results = captioner.caption([np.full((9, 9, 3), c, np.uint8) for c in COLOURS.values()])
    for result in results:
        assert result.familiarity == round(result.familiarity, 3)
        assert 0 <= result.familiarity <= 1


def test_results_survive_json(captioner, photos):
    result = captioner.caption(photos[0])
    assert ImageCaptions.model_validate_json(result.model_dump_json()) == result


# Loaded


def test_load_finds_model_and_encoder(checkpoint, colour_encoder, photos, tmp_path):
    checkpoint.save(tmp_path / "run")
    loaded = Captioner.load(str(tmp_path / "run"))
    assert loaded.encoder is colour_encoder
    before = Captioner(Checkpoint.load(tmp_path / "run"), colour_encoder)
    assert loaded.caption(photos[:4]) == before.caption(photos[:4])


def test_an_encoder_of_other_weights_is_refused(checkpoint, colour_encoder):
    class Other:
        identity = colour_encoder.identity.model_copy(update={"weights": "abcd" * 4})
        preprocess, encode = colour_encoder.preprocess, colour_encoder.encode

    with pytest.raises(
        CheckpointError,
        match=r"^The model was trained on colour \(.*weights 0000000000000000\), but the encoder "
        r"here is colour \(.*weights abcdabcdabcdabcd\); give the weights it was "
        r"trained on, by --weights FILE$",
    ):
        Captioner(checkpoint, Other())


def test_an_encoder_that_is_not_there(checkpoint, tmp_path):
    checkpoint.save(tmp_path / "run")
    with pytest.raises(OptionsError, match="There is no encoder 'colour'"):
        Captioner.load(tmp_path / "run")


# Likeness to the photo


def texts(result):
    return [caption.text for caption in result.captions]


@pytest.mark.parametrize("weights", [(0.5, 0.0), (5.0, 0.0), (0.0, 0.2), (0.0, 2.0), (1.0, 0.5)])
def test_what_fits_the_photo_counts_beside_likelihood(ranking_run, photos, weights):
    captioner = Captioner.load(ranking_run)
    plain = DecodingOptions(beam_size=12, n_best=12, maximum_words=4)
    found = captioner.caption(photos, plain)
    fitted = captioner.caption(
        photos, plain.model_copy(update=dict(zip(FIT, weights, strict=True)))
    )
    moved = 0
    for photo, before, after in zip(photos, found, fitted, strict=True):
        encode = captioner.checkpoint.vocabulary.encode
        words = [encode(word.word for word in caption.words) for caption in before.captions]
        feature = captioner.encoder.encode(
            captioner.encoder.preprocess(Image.open(photo).convert("RGB"))[None]
        )
        sums = [caption.log_probability for caption in before.captions]
        lengths = np.array([len(each) + 1 for each in words]) ** plain.length_exponent
        likeness = captioner.ranker.likeness([words], feature)[0]
        expected = captioner.ranker.expected_cider([words], feature)[0]
        scores = sums / lengths + weights[0] * likeness + weights[1] * expected
        order = np.argsort(-scores, kind="stable")
        assert texts(after) == [before.captions[place].text for place in order]
        moved += texts(after) != texts(before)
    assert moved


def test_the_one_caption_is_the_best_of_the_whole_beam(ranking_run, photos):
    captioner = Captioner.load(ranking_run)
    options = DecodingOptions(
        beam_size=12, n_best=12, maximum_words=4, likeness=5, expected_cider=1
    )
    every = captioner.caption(photos, options)
    one = captioner.caption(photos, options.model_copy(update={"n_best": 1}))
    assert [texts(result) for result in one] == [texts(result)[:1] for result in every]


@pytest.mark.parametrize(
    "changes",
    [{"beam_size": 1}, {"temperature": 1.0, "n_best": 3}, {"diverse_groups": 3, "n_best": 6}],
)
def test_greedy_search_chance_and_diverse_beams_leave_it_out(ranking_run, photos, changes):
    captioner = Captioner.load(ranking_run)
    options = DecodingOptions(beam_size=6, maximum_words=4).model_copy(update=changes)
    asked = options.model_copy(update=dict.fromkeys(FIT, 50.0))
    assert captioner.caption(photos, asked) == captioner.caption(photos, options)
    assert captioner.left_out(asked) == dict.fromkeys(FIT, NO_CHOICE)
    assert captioner.left_out(options) == {}


def test_a_model_that_has_not_learned_to_rank_captions_by_likelihood(captioner, photos):
    assert captioner.ranker is None
    options = DecodingOptions(beam_size=6, n_best=6, maximum_words=4)
    fitted = captioner.caption(photos, options.model_copy(update=dict.fromkeys(FIT, 50.0)))
    assert fitted == captioner.caption(photos, options)


def test_no_features_have_no_captions(ranking_run):
    options = DecodingOptions(likeness=1, expected_cider=1)
    assert Captioner.load(ranking_run).describe(torch.empty(0, 7), options) == []


@pytest.mark.parametrize("option", FIT)
def test_what_fits_counts_beside_consensus(ranking_run, photos, option):
    options = DecodingOptions(beam_size=12, maximum_words=4)
    alone = Captioner.load(ranking_run, "self").caption(photos, options)
    fitted = Captioner.load(ranking_run, "self").caption(
        photos, options.model_copy(update={option: 1000.0})
    )
    moved = 0
    for before, after in zip(alone, fitted, strict=True):
        assert after.captions[0].consensus.rank == 1
        moved += texts(before) != texts(after)
    assert moved
