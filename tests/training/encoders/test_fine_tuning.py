"""Fine-tuning changes the last layers alone, and teaches them what captions tell."""

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from mrnn.data.dataset import CaptionedImage
from mrnn.data.images import load_image
from mrnn.errors import ImageError, OptionsError
from mrnn.model.image_encoder import SHIPPED, open_encoder
from mrnn.model.preprocessing import crops_of
from mrnn.training.encoders.encoder_file import read_initializers
from mrnn.training.encoders.fine_tuning import VIEWS, FineTuningOptions, fine_tune, photos_seen
from mrnn.training.encoders.lite_halves import open_lite
from mrnn.training.encoders.photo_views import view_of

LITE = "efficientnet-lite0@64"
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
OPTIONS = FineTuningOptions(epochs=2, batch_size=6, min_count=1)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Photos of a coloured bar on grey, lying or standing, with captions that say which."""
    folder, made = tmp_path_factory.mktemp("photos"), []
    for number in range(4):
        for colour, rgb in COLOURS.items():
            for kind, box in {"lying": (0, 20, 80, 50), "standing": (25, 0, 55, 70)}.items():
                photo = Image.new("RGB", (80, 70), (90 + 15 * number,) * 3)
                photo.paste(rgb, box)
                file = folder / f"{colour}-{kind}-{number}.png"
                photo.save(file)
                words = [["a", colour, "bar", kind], ["one", kind, colour, "thing"]]
                captions = [" ".join(each) for each in words]
                made.append(CaptionedImage(file.name, file, "train", tuple(captions)))
    return made


@pytest.fixture(scope="module")
def tuned(images, tmp_path_factory):
    """The new encoder's file, what was told of each epoch, and the photos counted."""
    file, epochs, counts = tmp_path_factory.mktemp("tuned") / "bars.onnx", [], []
    fine_tune(LITE, file, images, images[:6], OPTIONS, counts.append, epochs.append)
    return file, epochs, sum(counts)


def test_losses_fall(tuned):
    _, (first, second), _ = tuned
    assert (first.epoch, second.epoch) == (1, 2)
    assert second.joint_loss < first.joint_loss
    assert 0 <= second.recall <= 1


def test_counts_each_photo(tuned, images):
    assert tuned[2] == photos_seen(len(images), OPTIONS) == (VIEWS + 2) * len(images)


@pytest.mark.parametrize(("lite", "ships", "cut"), [(0, False, 13), (2, True, 17)])
def test_first_layers_stay(tuned, lite, ships, cut):
    before = read_initializers(onnx.load(SHIPPED / f"efficientnet-lite{lite}.onnx"))
    file = SHIPPED / f"efficientnet-lite{lite}-captions.onnx" if ships else tuned[0]
    after = read_initializers(onnx.load(file))
    assert before.keys() == after.keys()
    for name in before:
        place = name.partition(".")[0]
        if not place.isdecimal():
            assert np.array_equal(before[name], after[name])
        elif int(place) < cut:  # the blocks up to the last halving
            assert np.allclose(before[name], after[name], rtol=0, atol=1e-4)
        else:
            assert not np.allclose(before[name], after[name], rtol=0, atol=1e-6)


def test_is_an_encoder_of_its_own(tuned):
    identity = open_encoder(tuned[0], "squash").identity
    assert (identity.name, identity.size, identity.feature_size) == ("bars", 224, 1280)


def test_same_seed_gives_the_same_file(tuned, images, tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            fine_tune(LITE, tmp_path / name / "bars.onnx", images, options=OPTIONS)
    finally:
        torch.set_num_threads(threads)
    one, other = ((tmp_path / name / "bars.onnx").read_bytes() for name in ("a", "b"))
    assert one == other


def test_halves_make_the_features_of_the_whole(images, tmp_path):
    lite = open_lite("efficientnet-lite1@96", tmp_path)
    maps = np.stack([lite.map_of(image.path) for image in images[:3]])
    with torch.no_grad():
        found = lite.features(maps).numpy()
    encoder = open_encoder(SHIPPED / "efficientnet-lite1.onnx", "squash")
    for image, feature in zip(images, found, strict=False):
        pixels = crops_of(load_image(image.path), 96, "squash", (127, 127, 127))
        expected = encoder.session.run({"pixels": pixels})[0][0]
        assert np.linalg.norm(feature - expected) < 1e-2 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", ["ssd-mobilenet-v2", "vgg16", "efficientnet-lite3", "lite0+lite1"])
def test_other_encoders_are_refused(name, images, tmp_path):
    with pytest.raises(OptionsError, match="cannot be fine-tuned; what can: efficientnet-lite0"):
        fine_tune(name, tmp_path / "x.onnx", images)


def test_broken_photo_is_named(images, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no photo")
    image = CaptionedImage("broken.png", broken, "train", ("a bar",))
    with pytest.raises(ImageError, match=r"broken\.png"):
        fine_tune(LITE, tmp_path / "x.onnx", [*images, image], options=OPTIONS)
    assert not (tmp_path / "x.onnx").exists()


def test_nothing_is_left_of_what_is_interrupted(images, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(LITE, tmp_path / "x.onnx", images, options=OPTIONS, on_epoch=interrupt)
    assert list(tmp_path.iterdir()) == []


# Views


def test_first_views_are_what_an_encoder_sees_and_its_mirror_image(images):
    path = images[0].path
    expected = crops_of(load_image(path), 64, "squash", (0, 0, 0))[0]
    assert np.array_equal(view_of(path, 64), expected)
    assert np.array_equal(view_of(path, 64, view=1), expected[:, ::-1])


def test_views_are_parts_and_mirror_images(tmp_path):
    """Of a photo that is red on the left and blue on the right."""
    photo = Image.new("RGB", (90, 60), (255, 0, 0))
    photo.paste((0, 0, 255), (45, 0, 90, 60))
    file = tmp_path / "halves.png"
    photo.save(file)
    views = [view_of(file, 64, view, seed) for view in (2, 3) for seed in range(20)]
    mirrored = [view[32, 0, 2] > view[32, -1, 2] for view in views]
    assert 10 < sum(mirrored) < 30
    red = [(view[32, :, 0] > 127).mean() for view in views]
    assert sum(share == 0.5 for share in red) < 10  # all are cropped, few in the middle
    assert min(red) > 0.1
    assert max(red) < 0.9
    assert np.array_equal(view_of(file, 64, 2, seed=3), views[3])
    assert not np.array_equal(views[3], views[23])
