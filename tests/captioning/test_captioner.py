import io
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mrnn.captioning import photo_group
from mrnn.captioning.caption_search import NO_CHOICE, NO_HEADS, photos_at_once
from mrnn.captioning.captioner import LARGEST_GROUP, LEAST_GROUP, Captioner, check_kinds
from mrnn.captioning.decode import decode
from mrnn.captioning.results import ImageCaptions
from mrnn.data.images import NamedImage
from mrnn.errors import CheckpointError, DataError, ImageError, OptionsError
from mrnn.model import devices, image_encoder, network
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.model.encoder_classes import CLASSIFIERS, TAGS
from mrnn.model.network import Int8Search, graph_digests
from mrnn.model.threads import AHEAD
from mrnn.retrieval.search import PhotoIndex
from tests.conftest import COLOURS, trained_model
from tests.model.test_devices import DEVICES
from tests.torch_network import torch_network, word_log_likelihoods

WEIGHTS = ("similarity_weight", "predicted_cider_weight")
SEARCH = DecodingOptions(beam_size=12, n_best=12, max_length=4)


@pytest.fixture
def captioner(checkpoint, colour_encoder):
    return Captioner(checkpoint, colour_encoder)


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


def feature_of(captioner, photo):
    with Image.open(photo) as image:
        return captioner.encoder.encode(captioner.encoder.preprocess(image.convert("RGB")))


def texts(result):
    return [caption.text for caption in result.captions]


def same(found, expected):
    """Equal but for the names of the photos."""
    assert len(found.captions) > 0
    assert found == expected.model_copy(update={"image": found.image})


# Devices


@pytest.mark.parametrize("device", DEVICES)
def test_captions_on_every_device(model_with_heads, colour_encoder, photos, device):
    captioner = Captioner.load(model_with_heads, device=device)
    assert captioner.checkpoint.device == device
    for photo in photos[:6]:
        found = captioner.caption(photo)
        expected = Captioner.load(model_with_heads).caption(photo)
        if device == "cpu":
            assert found == expected
        assert texts(found) == texts(expected)


def test_the_device_reaches_every_graph(model_with_heads, colour_encoder, photos, monkeypatch):
    asked = []
    for module in (network, image_encoder):
        original = module.open_session

        def opened(*arguments, device="cpu", original=original, **options):
            asked.append(device)
            return original(*arguments, **options)

        monkeypatch.setattr(module, "open_session", opened)
    monkeypatch.setattr(devices, "available_devices", lambda: ["cuda", "cpu"])
    Captioner.load(model_with_heads, device="cuda").caption(photos[0])
    PhotoIndex.build(photos[:1], model_with_heads / "index", model_with_heads, device="cuda")
    PhotoIndex.load(model_with_heads / "index", device="cuda").search(photos[0])
    assert len(asked) > 10
    assert set(asked) == {"cuda"}


def test_a_device_that_is_not_there(model, monkeypatch):
    monkeypatch.setattr(devices, "available_devices", lambda: ["cpu"])
    for load in (Captioner.load, Captioner.for_features):
        with pytest.raises(
            OptionsError, match=r"^--device directml: this onnxruntime has cpu; for"
        ):
            load(model, device="directml")


# Its folder


def change_folder(folder, change):
    """What may happen to the files of a model, and to the tags of its encoder."""
    if change == "trained again":
        checkpoint = Checkpoint.load(folder)
        encoder = checkpoint.load_encoder()
        shutil.rmtree(folder)
        other = trained_model(checkpoint.vocabulary, encoder)
        for weight in other.network.parameters():
            weight.data.neg_()
        other.save(folder)
        assert graph_digests(folder, checkpoint.config.model) == checkpoint.config.graphs
    elif change == "written over":
        for file in folder.iterdir():
            file.write_bytes(b"")
    else:
        shutil.rmtree(folder)
        for name in (TAGS, CLASSIFIERS):
            (image_encoder.SHIPPED / name).unlink()


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("change", ["trained again", "written over", "gone"])
def test_what_happens_to_the_folder_of_a_loaded_model_does_not_matter(
    confident_model, colour_tags, photos, monkeypatch, threads, change
):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    weights = RerankingOptions(similarity_weight=0.5, predicted_cider_weight=0.5)
    expected = Captioner.load(confident_model).caption(photos[:9], SEARCH, weights)
    captioner = Captioner.load(confident_model)
    change_folder(confident_model, change)
    found = captioner.caption(photos[:9], SEARCH, weights)
    assert found == expected
    assert all(each.confidence is not None for each in found)
    assert any(each.tags for each in found)


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
        (NamedImage("of a form.png", stream), "of a form.png"),
    ):
        stream.seek(0)
        found = captioner.caption(source)
        assert found.image == name
        same(found, expected)


def test_one_photo_gives_a_result_and_several_a_list(captioner, photos):
    assert isinstance(captioner.caption(photos[0]), ImageCaptions)
    for several in (photos[:3], tuple(photos[:3]), photos[:1], []):
        found = captioner.caption(several)
        assert [result.image for result in found] == [str(path) for path in several]


@pytest.mark.parametrize(
    "options",
    [
        DecodingOptions(beam_size=50, n_best=3, max_length=6),
        DecodingOptions(beam_groups=2, beam_size=50, n_best=3, max_length=6),
        DecodingOptions(temperature=1.5, n_best=50, max_length=6),
    ],
)
def test_a_photo_is_captioned_alone_as_among_others(captioner, photos, options):
    assert photos_at_once(options) <= LEAST_GROUP < len(photos)
    for found, path in zip(captioner.caption(photos, options), photos, strict=True):
        same(found, captioner.caption(path, options))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"beam_size": 1}, 200),
        ({"beam_size": 3}, 66),
        ({"beam_size": 3, "n_best": 7}, 28),
        ({"beam_size": 8, "beam_groups": 3}, 22),
        ({"beam_size": 10, "force_words": ("a", "wall")}, 6),
        ({"temperature": 1, "n_best": 20}, 10),
        ({"beam_size": 1000}, 1),
        ({"temperature": 1, "n_best": 1000}, 1),
    ],
)
def test_about_as_many_hypotheses_go_through_the_network_at_once(options, count):
    assert photos_at_once(DecodingOptions(**options)) == count


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_stream_reads_no_further_than_it_must(captioner, photos, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    taken = []

    def sources():
        for path in [*photos] * 8:
            taken.append(path)
            yield path

    for beam_size, size in ((50, LEAST_GROUP), (1, LARGEST_GROUP)):
        taken.clear()
        stream = captioner.stream(sources(), DecodingOptions(beam_size=beam_size, max_length=3))
        assert next(stream).image == str(photos[0])
        assert len(taken) == (size if threads == 1 else AHEAD * threads * size)
        assert len(list(stream)) == 8 * len(photos) - 1


@pytest.mark.parametrize("options", [DecodingOptions(), DecodingOptions(temperature=1.5, n_best=9)])
def test_captions_do_not_depend_on_the_number_of_threads(
    model_with_heads, photos, tmp_path, monkeypatch, options
):
    captioner = Captioner.load(model_with_heads)
    sources, found = [photos[0], tmp_path / "none", *photos, b"dust", *photos[:5]], []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(captioner.caption(sources, options))
    assert found[0] == found[1] == found[2]
    assert [bool(each.error) for each in found[0]].count(True) == 2


@pytest.mark.parametrize("options", [None, DecodingOptions(beam_size=200, max_length=5)])
def test_captions_of_features_do_not_either(captioner, photos, monkeypatch, options):
    """One or some photos are searched for in a thread."""
    features = np.stack([feature_of(captioner, photo) for photo in photos])
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(captioner.describe(features, options))
    assert found[0] == found[1] == found[2]


def test_a_stream_that_is_left_loads_no_further_photo(captioner, photos, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    loaded, load = [], photo_group.load_image
    monkeypatch.setattr(
        photo_group, "load_image", lambda *a, **b: loaded.append(a) or load(*a, **b)
    )
    stream = captioner.stream([*photos] * 20)
    next(stream)
    stream.close()
    before = len(loaded)
    time.sleep(0.05)
    assert len(loaded) == before < 20 * len(photos)
    assert not [each for each in threading.enumerate() if each.name.startswith("photos")]


def test_bad_photos_keep_their_places(captioner, photos, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not a photo")
    mixed = [bad, photos[0], tmp_path / "none.jpg", *photos[1:20], np.zeros(3), bad]
    found = captioner.caption(mixed)
    wrong = {0: f"{bad}: not a photo", 2: f"{tmp_path}/none.jpg: no such file",
             22: "array: shape (3,)", 23: f"{bad}: not a photo"}  # fmt: skip
    assert len(found) == len(mixed)
    for place, (source, result) in enumerate(zip(mixed, found, strict=True)):
        if place in wrong:
            assert result.error.startswith(wrong[place])
            assert result.captions == ()
            assert result.familiarity is None
        else:
            assert result == captioner.caption(source)
    assert str(found[2]) == f"({found[2].error})"
    assert str(found[1]) == found[1].captions[0].text


def test_a_batch_of_bad_photos_alone(captioner, tmp_path):
    results = captioner.caption([tmp_path / "a", tmp_path / "b"])
    assert [bool(result.error) for result in results] == [True, True]


def test_a_photo_whose_feature_is_not_finite_does_not_stop_the_others(captioner, photos, tmp_path):
    black = tmp_path / "black\n.png"
    Image.new("RGB", (9, 9)).save(black)
    bad, good = captioner.caption([black, photos[0]])
    problem = "its feature is not finite; check the encoder colour"
    assert bad.error == f"{tmp_path}/black\\n.png: {problem}"
    assert good == captioner.caption(photos[0])


def test_a_single_bad_photo_raises(captioner, tmp_path):
    with pytest.raises(ImageError, match=r"none\.jpg: no such file$"):
        captioner.caption(tmp_path / "none.jpg")


def test_each_photo_is_told_about_as_its_group_is_done(captioner, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    calls = []
    results = captioner.stream(
        [*photos[:3], tmp_path / "none.jpg"], None, None, lambda: calls.append(1)
    )
    assert not calls
    next(results)
    assert len(calls) == 2  # two photos a thread
    assert len(list(results)) == 3
    assert len(calls) == 4


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


def test_words_and_the_end_of_the_sentence_add_up_to_the_caption(captioner, checkpoint, photos):
    """Against PyTorch, a whole sentence at once."""
    result = captioner.caption(photos[0], DecodingOptions(n_best=4, max_length=5))
    feature, network = feature_of(captioner, photos[0]), torch_network(checkpoint)
    assert len(result.captions) == 4
    for caption in result.captions:
        ids = checkpoint.vocabulary.encode([word.word for word in caption.words])
        expected = word_log_likelihoods(network, ids, feature)
        found = [word.log_probability for word in caption.words]
        assert found == pytest.approx(expected[:-1], abs=1e-4)
        assert caption.log_probability == pytest.approx(expected.sum(), abs=1e-4)
        assert caption.text == " ".join(word.word for word in caption.words)


def test_options_default_to_those_of_the_model(captioner, photos):
    (caption,) = captioner.caption(photos[0]).captions
    assert len(caption.words) <= 6
    options = DecodingOptions(beam_size=1, n_best=3, max_length=2)
    captions = captioner.caption(photos[0], options).captions
    assert len({caption.text for caption in captions}) == 3
    assert max(len(caption.words) for caption in captions) <= 2


def test_features_are_described_as_their_photos_are_captioned(captioner, photos):
    features = np.stack([feature_of(captioner, path) for path in photos[:5]])
    found = captioner.describe(features)
    assert found == [result.captions for result in captioner.caption(photos[:5])]
    assert captioner.describe(features[:0]) == []


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((2, 5), np.float32), "A feature has 5 values, but the model takes 7; give featu"),
        (np.zeros((0, 5), np.float32), "A feature has 5 values, but the model takes 7; give featu"),
        (np.full((2, 7), np.nan, np.float32), "A feature has values that are not finite; give fe"),
        (np.full((2, 7), -np.inf, np.float16), "A feature has values that are not finite; give f"),
    ],
)
def test_features_of_another_encoder(captioner, features, message):
    with pytest.raises(DataError, match=rf"^{message}.*es of colour$"):
        captioner.describe(features)


def test_sampled_captions_of_features_depend_on_keys_or_on_the_features(captioner):
    features = np.random.default_rng(0).random((6, 7), dtype=np.float32)
    options = DecodingOptions(temperature=2, n_best=3, max_length=6)
    found = captioner.describe(features, options)
    assert captioner.describe(features[3:], options) == found[3:]
    keyed = captioner.describe(features, options, keys=range(6))
    assert keyed != found
    assert captioner.describe(features[3:], options, keys=range(3, 6)) == keyed[3:]


def test_familiarity_is_rounded_and_a_fraction(captioner):
    results = captioner.caption([np.full((9, 9, 3), c, np.uint8) for c in COLOURS.values()])
    for result in results:
        assert result.familiarity == round(result.familiarity, 3)
        assert 0 <= result.familiarity <= 1


def test_results_survive_json(captioner, photos):
    result = captioner.caption(photos[0])
    assert ImageCaptions.model_validate_json(result.model_dump_json()) == result


# Loaded


def test_load_finds_model_and_encoder(captioner, model, photos):
    loaded = Captioner.load(str(model))
    assert loaded.encoder.identity == captioner.encoder.identity
    assert loaded.caption(photos[:4]) == captioner.caption(photos[:4])


def test_load_takes_the_file_of_an_encoder_that_does_not_ship(
    captioner, model, photos, monkeypatch, tmp_path
):
    file = captioner.encoder.file.rename(tmp_path / "mine.onnx")
    loaded = Captioner.load(model, encoder_file=str(file))
    assert loaded.caption(photos[0]) == captioner.caption(photos[0])


def test_an_encoder_that_is_not_there(captioner, model):
    captioner.encoder.file.unlink()
    with pytest.raises(OptionsError, match=r"^The package ships no encoder 'colour'"):
        Captioner.load(model)


def test_an_encoder_of_other_weights_is_refused(checkpoint, colour_encoder):
    class Other:
        identity = colour_encoder.identity.model_copy(update={"weights": "abcd" * 4})
        preprocess, encode = colour_encoder.preprocess, colour_encoder.encode

    message = r"was trained with \(weights abcdabcdabcdabcd, not [0-9a-f]{16}\); give that one$"
    with pytest.raises(CheckpointError, match=message):
        Captioner(checkpoint, Other())


def test_a_model_of_imported_features_captions_no_photos(vocabulary, colour_encoder, tmp_path):
    imported = colour_encoder.identity.model_copy(update={"resize_mode": None})
    trained = replace(trained_model(vocabulary, colour_encoder), encoder=imported)
    trained.save(tmp_path / "imported")
    captioner = Captioner.load(tmp_path / "imported")
    (captions,) = captioner.describe(np.ones((1, 7), np.float32))
    assert captions[0].text
    with pytest.raises(CheckpointError, match=r"^There is no encoder for photos: .*colour \(impo"):
        captioner.caption(np.zeros((9, 9, 3), np.uint8))


# Reranking


@pytest.mark.parametrize("weights", [(0.5, 0.0), (5.0, 0.0), (0.0, 0.2), (0.0, 2.0), (1.0, 0.5)])
def test_similarity_and_predicted_cider_count_beside_likelihood(model_with_heads, photos, weights):
    """The order is that of exact scores, of the hypotheses that the int8 search finds."""
    captioner = Captioner.load(model_with_heads)
    checkpoint, heads = captioner.checkpoint, captioner.checkpoint.heads
    network = torch_network(checkpoint)
    reranked = captioner.caption(photos, SEARCH, RerankingOptions(
        **dict(zip(WEIGHTS, weights, strict=True))))  # fmt: skip
    plain = captioner.caption(photos, SEARCH)
    for photo, result in zip(photos, reranked, strict=True):
        feature = feature_of(captioner, photo)[None]
        image = checkpoint.network.encode_image(feature)
        (searched,) = decode(Int8Search(checkpoint.network), image, SEARCH)
        words = [list(hypothesis.words) for hypothesis in searched]
        nats = [word_log_likelihoods(network, ids, feature[0]) for ids in words]
        scores = np.array([each.sum() / len(each) ** SEARCH.length_penalty for each in nats])
        scores += weights[0] * heads.similarity([words], feature)[0]
        scores += weights[1] * heads.predicted_cider([words], feature)[0]
        found = [checkpoint.vocabulary.encode(w.word for w in c.words) for c in result.captions]
        assert sorted(found) == sorted(words)
        assert [scores[words.index(ids)] for ids in found] == pytest.approx(
            sorted(scores, reverse=True), abs=1e-3
        )
        exact = [nats[words.index(ids)].sum() for ids in found]
        assert [c.log_probability for c in result.captions] == pytest.approx(exact, abs=1e-4)
    assert any(texts(a) != texts(b) for a, b in zip(plain, reranked, strict=True))


@pytest.mark.parametrize("beam_size", [12, 60])
def test_the_one_caption_is_the_best_of_the_whole_beam(model_with_heads, photos, beam_size):
    captioner = Captioner.load(model_with_heads)
    reranking = RerankingOptions(similarity_weight=5, predicted_cider_weight=1)
    options = DecodingOptions(beam_size=beam_size, n_best=beam_size, max_length=4)
    every = captioner.caption(photos, options, reranking)
    one = captioner.caption(photos, options.model_copy(update={"n_best": 1}), reranking)
    assert [texts(result) for result in one] == [texts(result)[:1] for result in every]


@pytest.mark.parametrize(
    "changes",
    [{"beam_size": 1}, {"temperature": 1.0, "n_best": 3}, {"beam_groups": 3, "n_best": 6}],
)
def test_reranking_needs_plain_beam_search_and_a_choice(model_with_heads, photos, changes):
    captioner = Captioner.load(model_with_heads)
    options = DecodingOptions(beam_size=6, max_length=4).model_copy(update=changes)
    asked = RerankingOptions(**dict.fromkeys(WEIGHTS, 50.0))
    assert captioner.caption(photos, options, asked) == captioner.caption(photos, options)
    assert captioner.ignored(options, asked) == dict.fromkeys(WEIGHTS, NO_CHOICE)
    assert captioner.ignored(options, RerankingOptions()) == {}
    wide = DecodingOptions(beam_size=2)
    assert captioner.applied(wide, asked) == asked
    assert captioner.ignored(wide, asked) == {}


def test_consensus_gives_greedy_search_a_choice(model_with_heads):
    captioner = Captioner.load(model_with_heads, "self")
    asked = RerankingOptions(similarity_weight=1)
    assert captioner.applied(DecodingOptions(beam_size=1), asked) == asked


def test_a_model_without_heads_captions_by_likelihood(captioner, photos):
    assert captioner.checkpoint.heads is None
    options = DecodingOptions(beam_size=6, n_best=6, max_length=4)
    asked = RerankingOptions(**dict.fromkeys(WEIGHTS, 50.0))
    assert captioner.caption(photos, options, asked) == captioner.caption(photos, options)
    assert captioner.ignored(options, asked) == dict.fromkeys(WEIGHTS, NO_HEADS)


def test_no_features_have_no_captions(model_with_heads):
    asked = RerankingOptions(similarity_weight=1, predicted_cider_weight=1)
    assert Captioner.load(model_with_heads).describe(np.empty((0, 7)), None, asked) == []


@pytest.mark.parametrize(
    ("options", "consensus", "reranked", "n_best"),
    [
        ({"n_best": 2}, None, False, 2),
        ({"n_best": 2}, None, True, 7),
        ({"n_best": 9}, None, True, 9),
        ({"n_best": 2}, "self", False, 10),
        ({"n_best": 2, "beam_size": 14}, "self", False, 14),
        ({"n_best": 2, "temperature": 1, "beam_size": 14}, "self", False, 10),
        ({"n_best": 2, "temperature": 1, "beam_size": 14}, None, False, 2),
    ],
)
def test_as_many_hypotheses_are_searched_as_are_put_in_order(
    model_with_heads, options, consensus, reranked, n_best
):
    captioner = Captioner.load(model_with_heads, consensus)
    decoding = DecodingOptions(**{"beam_size": 7, **options})
    reranking = RerankingOptions(similarity_weight=float(reranked))
    found = captioner.search_options(decoding, reranking)
    assert found == decoding.model_copy(update={"n_best": n_best})


@pytest.mark.parametrize("weight", WEIGHTS)
def test_reranking_counts_beside_consensus(model_with_heads, photos, weight):
    captioner = Captioner.load(model_with_heads, "self")
    options = DecodingOptions(beam_size=12, max_length=4)
    alone = captioner.caption(photos, options)
    reranked = captioner.caption(photos, options, RerankingOptions(**{weight: 1000.0}))
    for result in reranked:
        assert result.captions[0].consensus.rank == 1
    assert any(texts(a) != texts(b) for a, b in zip(alone, reranked, strict=True))


def test_what_is_no_list_and_what_are_no_options(captioner, photos):
    with pytest.raises(TypeError, match=r"^stream takes several photos; give a list, or use capt"):
        next(captioner.stream(str(photos[0])))
    check_kinds(None, RerankingOptions())
    with pytest.raises(TypeError, match=r"^decoding: expected DecodingOptions, not dict$"):
        check_kinds({"beam_size": 3}, None)
    with pytest.raises(TypeError, match=r"^reranking: expected RerankingOptions, not str$"):
        check_kinds(None, "none")
