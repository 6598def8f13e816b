"""Training of a network: `train` yields events, and writes the model's folder.

RUN/ holds the model of the best epoch so far by dev perplexity, and the training state.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features, recorded_encoder
from mrnn.errors import TrainingError
from mrnn.evaluation.perplexity import perplexity_of
from mrnn.files import write_whole
from mrnn.model.checkpoint import CONFIG, FORMAT, VOCABULARY, save_weights
from mrnn.model.config import CheckpointConfig, EncoderIdentity, ModelConfig
from mrnn.model.epochs import EpochDone
from mrnn.model.familiarity import Familiarity, evenly_spaced
from mrnn.model.network import WEIGHTS
from mrnn.tokenizer import Vocabulary
from mrnn.training.batches import Batch, batches
from mrnn.training.data import TrainingData, read_training_data
from mrnn.training.events import Event, RunFinished, RunStarted, StepDone
from mrnn.training.export import export_graphs
from mrnn.training.model_card import write_model_card
from mrnn.training.network import Network, network_of, sentence_loss
from mrnn.training.recipe import Recipe, TrainingOptions
from mrnn.training.resume import (
    STATE,
    Progress,
    TrainingState,
    add_metrics,
    check_folder,
    cut_metrics,
    load_state,
    save_state,
)
from mrnn.training.validation import DevFigures, validate

HEADS = {"joint_embedding", "cider_predictor"}
"""Tables of a recipe that do not change the network, so they may differ in a resumed run."""


def train(recipe: Recipe, dataset: Dataset, out: Path, *, resume: bool = False) -> Iterator[Event]:
    """Train a network on the train split, and keep the best epoch on dev.

    The same recipe, data, machine and number of threads give the same weights, bit for bit. So does
    a run that was interrupted and resumed. Raises TrainingError for a folder that cannot be
    written to or resumed, and where the cost is not finite; DataError for missing features.
    """
    check_folder(out, resume=resume)
    encoder = recorded_encoder(dataset, recipe.encoder.name, recipe.encoder.resize_mode)
    features = load_features(dataset, encoder)
    data = read_training_data(dataset, features, recipe.training.min_count)
    torch.manual_seed(recipe.training.seed)
    config = ModelConfig(
        **recipe.model.model_dump(),
        vocabulary_size=len(data.vocabulary),
        image_size=encoder.feature_size,
    )
    familiarity = Familiarity.of(features.of(evenly_spaced(dataset.split("train"))))
    model = TrainedModel(recipe, network_of(config), data.vocabulary, encoder, familiarity)
    yield from _Run(model, data, out).events(resume)


@dataclass(frozen=True)
class TrainedModel:
    """A network in training, and what else its folder holds."""

    recipe: Recipe
    network: Network
    vocabulary: Vocabulary
    encoder: EncoderIdentity
    familiarity: Familiarity

    def save(self, folder: Path) -> None:
        """Write the model's folder; it is one as soon as config.json, the last file, is there.

        Of a folder that this model was saved to before only the weights change, at once.
        """
        config = CheckpointConfig(
            format=FORMAT,
            recipe=self.recipe.name,
            model=self.network.config,
            encoder=self.encoder,
            decoding=self.recipe.decoding,
            reranking=self.recipe.reranking,
            familiarity_median=self.familiarity.median,
            familiarity_edge=self.familiarity.edge,
        )
        weights = {name: w.detach().numpy() for name, w in self.network.named_parameters()}
        folder.mkdir(parents=True, exist_ok=True)
        self.vocabulary.save(folder / VOCABULARY)
        save_weights(folder / WEIGHTS, weights, self.familiarity)
        export_graphs(folder, config.model)
        write_whole(folder / CONFIG, config.model_dump_json(indent=2) + "\n")


class _Run:
    """A model in training, its optimizer, its averaged weights and its progress."""

    def __init__(self, trained: TrainedModel, data: TrainingData, out: Path) -> None:
        self.trained, self.data, self.out = trained, data, out
        self.recipe, self.options = trained.recipe, trained.recipe.training
        self.network = trained.network
        self.average = {name: weight.clone() for name, weight in self._weights().items()}
        self.optimizer = torch.optim.AdamW(  # without decay the same as Adam
            self.network.parameters(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(self.options.seed)
        self.progress = Progress()
        self.steps_per_epoch = math.ceil(len(data.train) / self.options.batch_size)

    def events(self, resume: bool) -> Iterator[Event]:
        """The whole run, or the rest of it."""
        if resume and (self.out / STATE).exists():
            self._restore()
        else:
            self._save_state()  # first, so that a folder with a model always has a state
        cut_metrics(self.out, self.progress.epoch)
        yield RunStarted(
            self.out,
            sum(parameter.numel() for parameter in self.network.parameters()),
            len(self.trained.vocabulary),
            self.options.epochs,
            self.steps_per_epoch,
            self.options.precision,
            self.progress.epoch,
        )
        while self.progress.epoch < self.options.epochs and not self._out_of_patience():
            self.progress.epoch += 1
            start, nats, words = time.perf_counter(), 0.0, 0
            for step in self._train_epoch():
                nats, words = nats + step.bits * math.log(2) * step.words, words + step.words
                yield step
            seconds = time.perf_counter() - start
            yield self._finish_epoch(perplexity_of(nats, words), words / seconds, start)
        yield RunFinished(self.out, self.progress.best_epoch, self.progress.best_perplexity)

    def _out_of_patience(self) -> bool:
        return self.progress.epoch - self.progress.best_epoch >= self.options.patience

    def _train_epoch(self) -> Iterator[StepDone]:
        self.network.train()
        data, steps = self.data, self.options.epochs * self.steps_per_epoch
        done = (self.progress.epoch - 1) * self.steps_per_epoch
        for batch in batches(data.train, data.features, self.options.batch_size, self.generator):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.options, done, steps)
            bits = self._step(batch)
            done += 1
            # Without averaging, only the last weights of an epoch are ever used.
            if self.options.average or done % self.steps_per_epoch == 0:
                self._average(done)
            yield StepDone(self.progress.epoch, bits, batch.word_count)

    def _step(self, batch: Batch) -> float:
        """One step down the paper's cost: mean bits a word + lambda ||theta||^2."""
        low = self.options.precision == "bfloat16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            nats = sentence_loss(self.network, batch.words, batch.targets, batch.features)
        bits = nats / (batch.word_count * math.log(2))
        if not torch.isfinite(bits):
            raise self._not_finite(float(bits.detach()), batch)
        self.optimizer.zero_grad(set_to_none=True)
        bits.backward()  # type: ignore[no-untyped-call]
        for weight in self.network.parameters():
            if weight.grad is not None:  # the penalty's gradient is 2 lambda theta
                weight.grad.add_(weight.detach(), alpha=2 * self.options.weight_penalty)
        gradients = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if norm > self.options.clip:  # rare; otherwise clipping would be a pass for nothing
            nn.utils.clip_grads_with_norm_(self.network.parameters(), self.options.clip, norm)
        self.optimizer.step()
        return float(bits.detach())

    def _not_finite(self, bits: float, batch: Batch) -> TrainingError:
        rows = self.data.train.image_rows[batch.rows[:3]]
        names = ", ".join(self.data.names[row] for row in rows)
        return TrainingError(
            f"The cost is {bits} in epoch {self.progress.epoch}, in the batch of "
            f"{len(batch.rows)} captions that begins with those of {names:.100}. Lower "
            "training.learning_rate, or look for bad features with: mrnn check"
        )

    def _average(self, steps: int) -> None:
        """Add the weights after so many steps to the average; early steps are soon forgotten."""
        decay = min(self.options.average, steps / (steps + 10))
        for name, parameter in self.network.named_parameters():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    def _finish_epoch(self, train_perplexity: float, speed: float, start: float) -> EpochDone:
        """Measure on dev, keep the best model, and save the training state, in this order."""
        raw = {name: weight.clone() for name, weight in self._weights().items()}
        self._set_weights(self.average)
        self.network.eval()
        figures = validate(self.network, self.data, self.recipe.decoding.max_length)
        best = figures.dev_perplexity < self.progress.best_perplexity
        if best:
            self.progress.best_epoch = self.progress.epoch
            self.progress.best_perplexity = figures.dev_perplexity
            self._save_model(figures)
        self._set_weights(raw)
        done = EpochDone(
            epoch=self.progress.epoch,
            train_perplexity=train_perplexity,
            **vars(figures),
            best=best,
            words_per_second=speed,
            seconds=time.perf_counter() - start,
        )
        add_metrics(self.out, done.model_dump_json())
        self._save_state()
        return done

    def _save_model(self, figures: DevFigures) -> None:
        self.trained.save(self.out)
        write_model_card(
            self.out, self.recipe, self.trained.encoder, self.data, self.progress.epoch, figures
        )

    def _weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.network.named_parameters()}

    def _set_weights(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(weights[name])

    def _save_state(self) -> None:
        state = TrainingState(
            self.progress,
            self._fingerprint(),
            self._weights(),
            self.average,
            self.optimizer.state_dict()["state"],
            torch.get_rng_state(),
            self.generator.get_state(),
        )
        save_state(self.out, state)

    def _restore(self) -> None:
        state = load_state(self.out, self._fingerprint())
        self.progress, self.average = state.progress, state.average
        self._set_weights(state.weights)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        torch.set_rng_state(state.dropout_rng)
        self.generator.set_state(state.batch_rng)

    def _fingerprint(self) -> str:
        """What a resumed run must have in common with the interrupted one."""
        content: dict[str, Any] = self.recipe.model_dump(mode="json", exclude=HEADS)
        content["encoder"] = self.trained.encoder.model_dump(mode="json")
        content["captions"] = self.data.hash
        return json.dumps(content, sort_keys=True)


def learning_rate(options: TrainingOptions, step: int, steps: int) -> float:
    """The rate at a step (from 0) of `steps`: a linear warm-up, then a cosine down to 0."""
    warm = max(1, round(options.warm_up * steps))
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
