import sys

import pytest

from mrnn.data.features import extract_features
from mrnn.errors import MissingExtraError
from mrnn.training.events import RunFinished, StepDone
from mrnn.training.tensorboard import FIGURES, TEXT_FIGURES, log_to_tensorboard
from mrnn.training.train import train
from tests.training.test_train import epochs_of, recipe


@pytest.fixture
def dataset(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


def curves(folder):
    """What the viewer shows: for each figure its steps and values."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs mrnn[tensorboard]"
    )
    shown = reader.EventAccumulator(str(folder))
    shown.Reload()
    return {
        tag: [(point.step, point.value) for point in shown.Scalars(tag)]
        for tag in shown.Tags()["scalars"]
    }


def test_the_viewer_shows_each_epoch_once_though_the_run_was_interrupted(dataset, tmp_path):
    pytest.importorskip("tensorboard", reason="needs mrnn[tensorboard]")
    out, folder, epochs = tmp_path / "run", tmp_path / "run" / "tensorboard", []
    for stop in (12, 5, 20, 1, 10_000):  # events; 7 are an epoch of 6 steps
        events = log_to_tensorboard(train(recipe(epochs=6), dataset, out, resume=True), folder)
        some = [event for event, _ in zip(events, range(stop), strict=False)]
        events.close()
        epochs += epochs_of(some)
    assert isinstance(some[-1], RunFinished)
    shown = curves(folder)
    assert shown.keys() == {*FIGURES, "bits_a_word"}
    for name in FIGURES:
        assert [step for step, _ in shown[name]] == [6, 12, 18, 24, 30, 36]
        values = [pytest.approx(getattr(epoch, name), rel=1e-5) for epoch in epochs]
        assert [value for _, value in shown[name]] == values
    assert [step for step, _ in shown["bits_a_word"]] == [10, 20, 30]


def test_text_comes_before_the_pairs(dataset, text, tmp_path):
    pytest.importorskip("tensorboard", reason="needs mrnn[tensorboard]")
    out, folder = tmp_path / "run", tmp_path / "log"
    for stop in (8, 14, 10_000):  # events; 5 are an epoch of text, 7 one of pairs
        run = train(recipe(epochs=2), dataset, out, text=[text], resume=True)
        events = log_to_tensorboard(run, folder)
        for _ in zip(range(stop), events, strict=False):
            pass
        events.close()
    shown = curves(folder)
    for name in TEXT_FIGURES:
        assert [step for step, _ in shown[f"text/{name}"]] == [4, 8]
    assert [step for step, _ in shown["dev_perplexity"]] == [14, 20]


def test_events_are_passed_on_and_what_is_not_measured_is_not_written(dataset, tmp_path):
    pytest.importorskip("tensorboard", reason="needs mrnn[tensorboard]")
    run = train(recipe({"sees_image": False}, epochs=1), dataset, tmp_path / "run")
    events = list(log_to_tensorboard(run, tmp_path / "log"))
    assert len([event for event in events if isinstance(event, StepDone)]) == 6
    assert "shuffled_perplexity" not in curves(tmp_path / "log")


def test_without_tensorboard_the_extra_is_named(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        MissingExtraError, match=r"not installed\. Run: pip install 'mrnn\[tensorboard"
    ):
        next(log_to_tensorboard(train(recipe(), dataset, tmp_path / "run"), tmp_path / "log"))
    assert not (tmp_path / "run").exists()
