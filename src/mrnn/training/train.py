"""Training: `train` yields what happens, and leaves a checkpoint folder.

RUN/ is the best checkpoint so far by dev perplexity, with its card, and the state to resume from.
"""

import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mrnn.captioning.decode import decode
from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features, recorded_encoder
from mrnn.errors import TrainingError
from mrnn.evaluation.captions import score_generation
from mrnn.evaluation.perplexity import perplexity_of
from mrnn.model.checkpoint import FORMAT, save_checkpoint
from mrnn.model.config import CheckpointConfig, DecodingOptions, EncoderIdentity, ModelConfig
from mrnn.model.epochs import EpochDone
from mrnn.model.familiarity import Familiarity, evenly_spaced
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.batches import Batch, batches
from mrnn.training.data import TrainingData, read_training_data
from mrnn.training.events import Event, RunFinished, RunStarted, StepDone
from mrnn.training.export import export_graphs
from mrnn.training.model_card import write_model_card
from mrnn.training.network import Network, TorchLanguageModel, network_of
from mrnn.training.recipe import Recipe, TrainingOptions
from mrnn.training.resume import (
    RESUME,
    Progress,
    SavedRun,
    add_metrics,
    check_folder,
    cut_metrics,
    load_run,
    save_run,
)

AFTERWARDS = {"joint_embedding", "cider_predictor"}
"""Tables of a recipe that may change while a run is interrupted, as the model does not."""
BATCH_OF_DEV = 128


def train(recipe: Recipe, dataset: Dataset, out: Path, *, resume: bool = False) -> Iterator[Event]:
    """Train a model on the train split, choosing the best epoch on dev.

    The same recipe, data, machine and number of threads give the same weights, bit for bit; so does
    a run that was interrupted, at whatever moment, and resumed.
    """
    check_folder(out, resume=resume)
    encoder = recorded_encoder(dataset, recipe.encoder.name, recipe.encoder.resize_mode)
    features = load_features(dataset, encoder)
    data, vocabulary = read_training_data(dataset, features, recipe.training.min_count)
    torch.manual_seed(recipe.training.seed)
    config = ModelConfig(
        **recipe.model.model_dump(),
        vocabulary_size=len(vocabulary),
        image_size=encoder.feature_size,
    )
    familiarity = Familiarity.of(features.of(evenly_spaced(dataset.split("train"))))
    model = TrainedModel(recipe, network_of(config), vocabulary, encoder, familiarity)
    yield from _Run(model, data, out).events(resume)


@dataclass(frozen=True)
class TrainedModel:
    """A network in training, with what a checkpoint holds beside it."""

    recipe: Recipe
    network: Network
    vocabulary: Vocabulary
    encoder: EncoderIdentity
    familiarity: Familiarity

    def save(self, folder: Path) -> None:
        """As a checkpoint with its graphs."""
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
        save_checkpoint(folder, config, self.vocabulary, weights, self.familiarity)
        export_graphs(folder, config.model)


class _Run:
    """A model in training: its optimizer, its averaged weights and where it stands."""

    def __init__(self, trained: TrainedModel, data: TrainingData, out: Path) -> None:
        self.trained, self.data, self.out = trained, data, out
        self.recipe, self.options = trained.recipe, trained.recipe.training
        self.model = trained.network
        self.average = {name: weight.clone() for name, weight in self._weights().items()}
        self.optimizer = torch.optim.AdamW(  # without decay the same as Adam
            self.model.parameters(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(self.options.seed)
        self.progress = Progress()
        self.low_precision = self.options.precision == "bfloat16"
        self.steps_per_epoch = math.ceil(len(data.train) / self.options.batch_size)

    def events(self, resume: bool) -> Iterator[Event]:
        """The whole run, or what is left of it."""
        if resume and (self.out / RESUME).exists():
            self._restore()
        else:
            self._save()  # before the first checkpoint, so that none is ever without
        cut_metrics(self.out, self.progress.epoch)
        yield RunStarted(
            self.out,
            sum(parameter.numel() for parameter in self.model.parameters()),
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
        self.model.train()
        data, size = self.data, self.options.batch_size
        done = (self.progress.epoch - 1) * self.steps_per_epoch
        for batch in batches(data.train, data.features, size, self.generator):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(
                    self.options, done, self.options.epochs * self.steps_per_epoch
                )
            bits = self._step(batch)
            done += 1
            # Without an average the last weights of an epoch are all that is measured.
            if self.options.average or done % self.steps_per_epoch == 0:
                self._average(done)
            yield StepDone(self.progress.epoch, bits, batch.word_count)

    def _step(self, batch: Batch) -> float:
        """One step down the paper's cost: mean bits a word + lambda ||theta||^2."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.low_precision):
            nats = self.model.loss(batch.words, batch.targets, batch.images)
        bits = nats / (batch.word_count * math.log(2))
        if not torch.isfinite(bits):
            rows = self.data.train.image_rows[batch.rows[:3]]
            names = ", ".join(self.data.names[row] for row in rows)
            raise TrainingError(
                f"The cost is {bits.item()} in epoch {self.progress.epoch}, in the batch of "
                f"{len(batch.rows)} captions that begins with those of {names}. Look for bad "
                "features with `mrnn check`, or lower training.learning_rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        bits.backward()  # type: ignore[no-untyped-call]
        for weight in self.model.parameters():
            if weight.grad is not None:  # the regulariser's gradient is 2 lambda theta
                weight.grad.add_(weight.detach(), alpha=2 * self.options.weight_penalty)
        gradients = [weight.grad for weight in self.model.parameters() if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if norm > self.options.clip:  # most are not: no pass over them is spent
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.options.clip, norm)
        self.optimizer.step()
        return float(bits.detach())

    def _average(self, steps: int) -> None:
        """Take the weights after so many steps into the average, which begins with short memory."""
        decay = min(self.options.average, steps / (steps + 10))
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    def _finish_epoch(self, train_perplexity: float, speed: float, start: float) -> EpochDone:
        """Measure on dev, keep the best, and save where the run stands, in this order."""
        raw = {name: weight.clone() for name, weight in self._weights().items()}
        self._set_weights(self.average)
        self.model.eval()
        figures = self._measure()
        best = figures["dev_perplexity"] < self.progress.best_perplexity
        if best:
            self.progress.best_epoch = self.progress.epoch
            self.progress.best_perplexity = figures["dev_perplexity"]
            self.trained.save(self.out)
            write_model_card(
                self.out,
                self.recipe,
                encoder=self.trained.encoder,
                vocabulary_size=len(self.trained.vocabulary),
                data=self.data.folder,
                sizes=self.data.sizes,
                epoch=self.progress.epoch,
                figures=figures,
            )
        self._set_weights(raw)
        done = EpochDone(
            epoch=self.progress.epoch,
            train_perplexity=train_perplexity,
            **figures,
            best=best,
            words_per_second=speed,
            seconds=time.perf_counter() - start,
        )
        add_metrics(self.out, done.model_dump_json())
        self._save()
        return done

    def _measure(self) -> dict[str, Any]:
        data = self.data
        perplexity = dev_perplexity(self.model, batches(data.dev, data.dev_features, BATCH_OF_DEV))
        if not math.isfinite(perplexity):
            raise TrainingError(
                f"Dev perplexity is {perplexity} after epoch {self.progress.epoch}: "
                "the weights grew too large; lower training.learning_rate"
            )
        scores = score_generation(self._greedy_captions(), data.dev_references)
        return {
            "dev_perplexity": perplexity,
            "shuffled_perplexity": self._shuffled_perplexity(),
            "distinct": scores.distinct,
            "bleu_4": scores.bleu_4,
            "cider": scores.cider,
        }

    def _greedy_captions(self) -> list[list[str]]:
        greedy = DecodingOptions(beam_size=1, max_length=self.recipe.decoding.max_length)
        model, captions = TorchLanguageModel(self.model), []
        for start in range(0, len(self.data.dev_features), BATCH_OF_DEV):
            features = np.asarray(self.data.dev_features[start : start + BATCH_OF_DEV], np.float32)
            for best, *_ in decode(model, model.encode_image(features), greedy):
                captions.append(self.trained.vocabulary.decode(best.words))
        return captions

    def _shuffled_perplexity(self) -> float | None:
        captions, features = self.data.dev, self.data.dev_features
        if not self.recipe.model.sees_image or len(features) < 2:
            return None
        next_photo = (captions.image_rows + 1) % len(features)
        shifted = EncodedCaptions(captions.sentences, next_photo)
        return dev_perplexity(self.model, batches(shifted, features, BATCH_OF_DEV))

    def _weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def _set_weights(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])

    def _save(self) -> None:
        state = SavedRun(
            self.progress,
            self._fingerprint(),
            self._weights(),
            self.average,
            self.optimizer.state_dict()["state"],
            torch.get_rng_state(),
            self.generator.get_state(),
        )
        save_run(self.out, state)

    def _restore(self) -> None:
        state = load_run(self.out, self._fingerprint())
        self.progress, self.average = state.progress, state.average
        self._set_weights(state.weights)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        torch.set_rng_state(state.dropout_state)
        self.generator.set_state(state.batches_state)

    def _fingerprint(self) -> str:
        """What must not change while a run is interrupted."""
        content: dict[str, Any] = self.recipe.model_dump(mode="json", exclude=AFTERWARDS)
        content["encoder"] = self.trained.encoder.model_dump(mode="json")
        content["captions"] = self.data.hash
        return json.dumps(content, sort_keys=True)


def learning_rate(options: TrainingOptions, step: int, steps: int) -> float:
    """At a step (from 0) of `steps`: a linear warm-up, then a cosine down to 0."""
    warm = max(1, round(options.warm_up * steps))
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


@torch.inference_mode()
def dev_perplexity(network: Network, batches: Iterable[Batch]) -> float:
    """2 ** -(mean log2 P) over all predicted words, `<eos>` and `<unk>` counted."""
    nats, words = 0.0, 0
    for batch in batches:
        nats += float(network.loss(batch.words, batch.targets, batch.images))
        words += batch.word_count
    return perplexity_of(nats, words)
