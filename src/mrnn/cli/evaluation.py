"""Measure a model."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.consensus import ConsensusSource, consensus_source
from mrnn.cli.decoding_flags import BeamSize, Likeness, decoding_options
from mrnn.cli.retrieval import (
    Exact,
    Folds,
    MarginalImages,
    RankingPrecision,
    measure_retrieval,
    retrieval_lines,
)
from mrnn.cli.scores import Draw, Frequencies, Meteor, Seed, interval_line, score_table
from mrnn.cli.terminal import Json, progress, show, tell
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mrnn.caption_scores import Setting
    from mrnn.dataset import CaptionedImage
    from mrnn.evaluation import EvaluationReport


class Task(StrEnum):
    """What `mrnn evaluate` can measure."""

    perplexity = "perplexity"
    generation = "generation"
    retrieval = "retrieval"
    all = "all"


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A model [default: the shipped one]")] = None,
    *,
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    split: Annotated[str, typer.Option(help="Which split to measure on")] = "test",
    task: Annotated[Task, typer.Option(help="What to measure")] = Task.all,
    beam_size: BeamSize = None,
    likeness: Likeness = None,
    consensus: ConsensusSource = None,
    exact: Exact = False,
    marginal_images: MarginalImages = None,
    precision: RankingPrecision = None,
    fold_count: Folds = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images")] = None,
    references: Draw = None,
    seed: Seed = 0,
    meteor: Meteor = True,
    frequencies: Frequencies = None,
    coco_results: Annotated[
        Path | None,
        typer.Option(help="Write the captions for the COCO server to this file, or in this folder"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a model: perplexity, BLEU, METEOR, ROUGE-L, CIDEr, R@K."""
    from mrnn.caption_files import coco_ids, write_coco_results
    from mrnn.captioner import Captioner
    from mrnn.checkpoint import DEFAULT_MODEL, Checkpoint
    from mrnn.consensus import Consensus
    from mrnn.dataset import Dataset
    from mrnn.evaluation import evaluate as evaluate_model
    from mrnn.features import load_features
    from mrnn.metrics.cider import DocumentFrequencies
    from mrnn.ranking import Ranker

    given = DocumentFrequencies.load(frequencies) if frequencies else None
    dataset = Dataset.load(data)
    checkpoint = Checkpoint.load(run or DEFAULT_MODEL)
    source = consensus_source(consensus)
    others = None if source is None else Consensus.load(source, checkpoint)
    ranker = Ranker.find(run or DEFAULT_MODEL, checkpoint)
    captioner = Captioner(checkpoint, consensus=others, ranker=ranker)  # needs no encoder
    images, notes = _drawn(dataset.split(split)[:limit], references, seed)
    training = dataset.split("train") if "train" in dataset.splits else ()
    if not training and task in (Task.generation, Task.all):
        notes.append(f"novel: {data} has no train split, whose captions would tell what is new")
    features = load_features(dataset, captioner.checkpoint.encoder).of(images)
    tasks = [Task.perplexity, Task.generation] if task is Task.all else [task]
    if coco_results and Task.generation not in tasks:
        raise OptionsError("--coco-results needs captions; give --task generation, or all")
    if coco_results and not coco_results.parent.is_dir():  # not after all photos are captioned
        raise OptionsError(
            f"--coco-results {coco_results}: there is no folder {coco_results.parent}"
        )
    ids = coco_ids([image.name for image in images]) if coco_results else []
    given_flags = {"beam_size": beam_size, "likeness": likeness}
    asked = {"n_best": 1} | {k: value for k, value in given_flags.items() if value is not None}
    options = decoding_options(captioner.checkpoint.decoding, asked)
    with progress("Captioning", len(images)) as advance:
        report = evaluate_model(
            captioner, images, features,
            tasks=tasks, options=options, training=training, frequencies=given,
            with_meteor=meteor, seed=seed, on_image=advance,
        )  # fmt: skip
    if coco_results:
        if coco_results.is_dir():
            coco_results /= f"captions_{split}_mrnn_results.json"
        write_coco_results(coco_results, ids, report.captions)
        tell(f"Wrote {coco_results}")
    report = report.model_copy(update={"notes": notes + report.notes})
    if task in (Task.retrieval, Task.all):
        ranked = measure_retrieval(
            captioner.checkpoint, run or DEFAULT_MODEL, dataset, images,
            exact=exact, marginal_images=marginal_images, fold_count=fold_count,
            precision=precision, seed=seed, required=task is Task.retrieval,
        )  # fmt: skip
        changes = {
            "retrieval": ranked.scores,
            "intervals": {**report.intervals, **ranked.intervals},
            "settings": {**report.settings, **ranked.settings},
            "notes": [*report.notes, *ranked.notes],
        }
        report = report.model_copy(update=changes)
    show(report, lambda: f"{split} of {data}\n{_tables(report)}", as_json=as_json)


def _drawn(
    images: "Sequence[CaptionedImage]", count: int | None, seed: int
) -> "tuple[Sequence[CaptionedImage], list[str]]":
    """The images with the captions that count."""
    from mrnn.hypothesis_files import draw_references

    if count is None:
        return images, []
    captions = [image.captions for image in images]
    drawn, notes = draw_references([image.name for image in images], captions, count, seed)
    return [replace(i, captions=c) for i, c in zip(images, drawn, strict=True)], notes


def _tables(report: "EvaluationReport") -> str:
    settings = report.settings
    lines = [f"model: {settings['recipe']}; image features: {settings['encoder']}"]
    if report.perplexity is not None:
        words = f"{settings['references']:,} captions: {settings['words']:,} words"
        for key, name, what in (
            ("perplexity", "perplexity", f"{words}, unknown ones counted, and their end signs"),
            ("perplexity_without_end", "", "of the words alone"),
        ):
            low, high = report.intervals[key]
            interval = f"{low:.2f} to {high:.2f}"
            lines.append(f"{name:<10} {getattr(report, key):7.2f}   {interval:<16} {what}")
    if report.generation is not None:
        lines += [score_table(report), f"captions: {_decoding(settings)}"]
    lines += retrieval_lines(report.retrieval, report.intervals, settings)
    lines.append(interval_line(settings))
    return "\n".join(lines)


def _decoding(settings: "dict[str, Setting]") -> str:
    """The options of decoding that say something."""
    from mrnn.decoding import DecodingOptions

    default = DecodingOptions().model_dump()
    said = {
        name: settings[name]
        for name in default
        if settings[name] != default[name] or name in ("beam_size", "length_exponent")
    }
    return ", ".join(f"{name} {value}" for name, value in said.items())
