"""A run: a network in training, epoch by epoch, and what is kept of it.

RUN/ holds the model of the best epoch of pairs so far by dev perplexity, and the training state.
"""

import json
import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from mrnn.errors import TrainingError
from mrnn.evaluation.perplexity import perplexity_of
from mrnn.model.epochs import EpochDone
from mrnn.tokenizer import join_words
from mrnn.training.batches import keep_on
from mrnn.training.data import TrainingData
from mrnn.training.devices import describe, rng_state, set_rng_state
from mrnn.training.events import (
    Event,
    RunFinished,
    RunStarted,
    StepDone,
    TextEpochDone,
    TextStarted,
)
from mrnn.training.model_card import write_model_card
from mrnn.training.optimization import (
    Optimization,
    Step,
    checksum,
    set_weights,
    weights_of,
)
from mrnn.training.recipe import HeadOptions
from mrnn.training.resume import (
    STATE,
    Progress,
    TrainingState,
    add_metrics,
    cut_metrics,
    load_state,
    save_state,
)
from mrnn.training.shares import Shares
from mrnn.training.trained_model import TrainedModel
from mrnn.training.validation import DevFigures, language_perplexity, validate

NO_TRAINING = {*HeadOptions.model_fields, "decoding", "reranking"}
"""Tables of a recipe that do not change the network, so they may differ in a resumed run."""


class Run:
    """A model in training, the optimization of its present phase, and its progress."""

    def __init__(
        self, trained: TrainedModel, data: TrainingData, out: Path, shares: Shares
    ) -> None:
        self.trained, self.data, self.out = trained, data, out
        self.shares, self.processes = shares, shares.processes
        self.recipe, self.options = trained.recipe, trained.recipe.training
        self.network = trained.network
        self.device = self.network.output.weight.device
        self.features = keep_on(self.device, data.features, data.train.image_rows)
        self.generator = torch.Generator().manual_seed(self.options.seed)
        self.progress = Progress()
        self.optimization = self._learning_text() if data.text else self._learning_pairs()

    def _learning_text(self) -> Optimization:
        assert self.data.text
        options = self.options.model_copy(
            update=self.recipe.text.model_dump(include={"epochs", "learning_rate"})
        )
        return Optimization(self.network, options, self.data.text.captions, None, self.shares)

    def _learning_pairs(self) -> Optimization:
        return Optimization(self.network, self.options, self.data.train, self.features, self.shares)

    def events(self, resume: bool) -> Iterator[Event]:
        """The whole run, or the rest of it."""
        self.processes.check_same({"training data or recipe": self._fingerprint()})
        if self.processes.first_does(lambda: resume and (self.out / STATE).exists()):
            self._restore()
        else:
            self._save_state()  # first, so that a folder with a model always has a state
        self.processes.first_does(lambda: cut_metrics(self.out, self.progress.epoch))
        yield self._started()
        begin = time.perf_counter()
        while self._learns_text():
            self.progress.text_epoch += 1
            perplexity, speed = yield from self._train_epoch(self.progress.text_epoch, text=True)
            yield self._finish_text_epoch(perplexity, speed)
        while self.progress.epoch < self.options.epochs and not self._out_of_patience():
            self.progress.epoch += 1
            start = time.perf_counter()
            perplexity, speed = yield from self._train_epoch(self.progress.epoch, text=False)
            yield self._finish_epoch(perplexity, speed, start)
        yield RunFinished(
            self.out,
            self.progress.best_epoch,
            self.progress.best_perplexity,
            self.processes.seconds / (time.perf_counter() - begin),
        )

    def _started(self) -> RunStarted:
        size, text = self.options.batch_size, None
        if self.data.text:
            text = TextStarted(
                len(self.data.text.captions),
                self.data.text.left_out,
                self.recipe.text.epochs,
                math.ceil(len(self.data.text.captions) / size),
                self.progress.text_epoch,
            )
        return RunStarted(
            self.out,
            sum(parameter.numel() for parameter in self.network.parameters()),
            len(self.trained.vocabulary),
            self.options.epochs,
            math.ceil(len(self.data.train) / size),
            self.options.precision,
            self.progress.epoch,
            describe(self.device),
            text,
            self.processes.count,
        )

    def _learns_text(self) -> bool:
        return bool(self.data.text) and self.progress.text_epoch < self.recipe.text.epochs

    def _out_of_patience(self) -> bool:
        return self.progress.epoch - self.progress.best_epoch >= self.options.patience

    def _train_epoch(
        self, number: int, *, text: bool
    ) -> Generator[StepDone, None, tuple[float, float]]:
        """Train; gives perplexity and words a second."""
        start, nats, words = time.perf_counter(), 0.0, 0
        for step in self.optimization.epoch(number, self.generator):
            if not math.isfinite(step.bits):
                raise self._not_finite(step, number, text=text)
            nats, words = nats + step.bits * math.log(2) * step.words, words + step.words
            yield StepDone(number, step.bits, step.words, text)
        return perplexity_of(nats, words), words / (time.perf_counter() - start)

    def _not_finite(self, step: Step, number: int, *, text: bool) -> TrainingError:
        if text:
            words = self.data.vocabulary.decode(
                self.optimization.captions.sentences[step.rows[0]].tolist()
            )
            return TrainingError(
                f"The cost is {step.bits} in text epoch {number}, in the batch of {len(step.rows)} "
                f"captions that begins with {join_words(words)!r:.100}. Lower text.learning_rate"
            )
        rows = self.data.train.image_rows[step.rows[:3]]
        names = ", ".join(self.data.names[row] for row in rows)
        return TrainingError(
            f"The cost is {step.bits} in epoch {number}, in the batch of {len(step.rows)} captions "
            f"that begins with those of {names:.100}. Lower training.learning_rate, or look for "
            "bad features with: mrnn check"
        )

    def _finish_text_epoch(self, train_perplexity: float, speed: float) -> TextEpochDone:
        """Measure on dev without photos, and save the state; pairs begin with the averages."""
        raw = self._use_average()
        perplexity = self.processes.first_does(lambda: language_perplexity(self.network, self.data))
        if self._learns_text():
            set_weights(self.network, raw)
        else:
            self.optimization = self._learning_pairs()
        self._save_state()
        return TextEpochDone(
            self.progress.text_epoch,
            self.recipe.text.epochs,
            train_perplexity,
            perplexity,
            speed,
        )

    def _finish_epoch(self, train_perplexity: float, speed: float, start: float) -> EpochDone:
        """Measure on dev, keep the best model, and save the training state, in this order."""
        raw = self._use_average()
        max_length = self.recipe.decoding.max_length
        figures = self.processes.first_does(lambda: validate(self.network, self.data, max_length))
        best = figures.dev_perplexity < self.progress.best_perplexity
        if best:
            self.progress.best_epoch = self.progress.epoch
            self.progress.best_perplexity = figures.dev_perplexity
            self._save_model(figures)
        set_weights(self.network, raw)
        done = EpochDone(
            epoch=self.progress.epoch,
            train_perplexity=train_perplexity,
            **vars(figures),
            best=best,
            words_per_second=speed,
            seconds=time.perf_counter() - start,
        )
        if self.processes.is_first:
            add_metrics(self.out, done.model_dump_json())
        self._save_state()
        return done

    def _use_average(self) -> dict[str, torch.Tensor]:
        """Put the averaged weights into the network; gives copies of its own."""
        raw = {name: weight.clone() for name, weight in weights_of(self.network).items()}
        self.processes.check_same({"set of weights": checksum(raw)})
        set_weights(self.network, self.optimization.average)
        self.network.eval()
        return raw

    def _save_model(self, figures: DevFigures) -> None:
        if not self.processes.is_first:
            return
        self.trained.save(self.out)
        write_model_card(
            self.out, self.recipe, self.trained.encoder, self.data, self.progress.epoch, figures
        )

    def _save_state(self) -> None:
        if not self.processes.is_first:
            return
        state = TrainingState(
            self.progress,
            self._fingerprint(),
            weights_of(self.network),
            self.optimization.average,
            self.optimization.optimizer.state_dict()["state"],
            rng_state(self.device),
            self.generator.get_state(),
        )
        save_state(self.out, state)

    def _restore(self) -> None:
        """Go on from the saved state, with the options of captioning that the recipe has now."""
        state = load_state(self.out, self._fingerprint())
        self.progress = state.progress
        if self.processes.is_first and self.progress.best_epoch:
            self.trained.save_config(self.out)
        if self.data.text and not self._learns_text():
            self.optimization = self._learning_pairs()
        self.optimization.restore(state.weights, state.average, state.optimizer)
        set_rng_state(self.device, state.dropout_rng)
        self.generator.set_state(state.batch_rng)

    def _fingerprint(self) -> str:
        """What a resumed run must have in common with the interrupted one."""
        text = self.data.text
        exclude = NO_TRAINING if text else NO_TRAINING | {"text"}
        content: dict[str, Any] = self.recipe.model_dump(mode="json", exclude=exclude)
        content["encoder"] = self.trained.encoder.model_dump(mode="json")
        content["captions"] = self.data.hash
        if text:
            content["--text"] = text.hash
        if self.device.type != "cpu":
            content["--device"] = self.device.type
        return json.dumps(content, sort_keys=True)
