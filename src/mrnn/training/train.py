"""Training of a network: `train` yields events, and writes the model's folder.

The network learns from captions without photos first, where they are given, then from pairs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features, recorded_encoder
from mrnn.data.splits import hold_out
from mrnn.model.config import ModelConfig
from mrnn.model.familiarity import Familiarity, evenly_spaced
from mrnn.training.data import read_training_data
from mrnn.training.devices import find_device
from mrnn.training.events import Event, HeadsDone, HeadsStarted
from mrnn.training.heads import save_heads
from mrnn.training.memory import available_memory, check_memory
from mrnn.training.network import network_of
from mrnn.training.processes import ALONE, Processes
from mrnn.training.recipe import Recipe
from mrnn.training.resume import run_folder
from mrnn.training.run import Run
from mrnn.training.shares import Shares, one_thread
from mrnn.training.trained_model import TrainedModel


def train(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    text: Sequence[Path] = (),
    device: str = "cpu",
    resume: bool = False,
    processes: Processes = ALONE,
    on_head_step: Callable[[], None] = lambda: None,
) -> Iterator[Event]:
    """Train a network on the train split, and keep the best epoch on dev; then its heads, if any.

    With files of `text` it learns from their captions first, see `mrnn.data.text`. `device` is
    cpu, cuda, mps or auto. Of several `processes` the first writes, and trains the heads alone.
    `on_head_step` is called for each step of the heads. No one else can write to the folder.

    On the CPU the same recipe, data, machine and number of threads give the same weights, bit for
    bit. So does a run that was interrupted and resumed. Where the recipe has two shares of a batch
    or more, the number of threads and of processes changes nothing either.

    Raises TrainingError for a folder that cannot be written to or resumed, where the cost is not
    finite, and where a process ends; DataError for missing features, bad text, and a folder that is
    being written; OptionsError for a device that is not there, and for more processes than shares.
    """
    there = find_device(device, processes)
    with ExitStack() as locked:
        folder = run_folder(out, resume=resume)
        processes.first_does(lambda: locked.enter_context(folder))
        with one_thread(recipe.training.shares > 1 and there.type == "cpu") as threads:
            shares = Shares(recipe.training.shares, processes, threads)
            yield from _prepared(recipe, dataset, out, text, there, shares).events(resume)
        if recipe.heads and processes.is_first:
            yield HeadsStarted(recipe.heads.joint_embedding, recipe.training.held_out)
            heads = save_heads(out, dataset, recipe.heads, on_head_step, there.type, text)
            yield HeadsDone(out, heads)


def _prepared(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    text: Sequence[Path],
    there: torch.device,
    shares: Shares,
) -> Run:
    """With all that is read and made before the first step."""
    encoder = recorded_encoder(dataset, recipe.encoder.name, recipe.encoder.resize_mode)
    features = load_features(dataset, encoder)
    options = recipe.training
    data = read_training_data(
        dataset, features, options.min_count, options.held_out, text, recipe.text.min_count
    )
    config = ModelConfig(
        **recipe.model.model_dump(),
        vocabulary_size=len(data.vocabulary),
        image_size=encoder.feature_size,
    )
    check_memory(config, available_memory(there))
    torch.manual_seed(options.seed)
    images, _ = hold_out(dataset.split("train"), options.held_out)
    familiarity = Familiarity.of(features.of(evenly_spaced(images)))
    network = network_of(config).to(there)
    model = TrainedModel(recipe, network, data.vocabulary, encoder, familiarity)
    return Run(model, data, out, shares)
