"""Measure a model."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.captioning.options import options_of
from mrnn.cli.decoding_flags import (
    BeamSize,
    PredictedCiderWeight,
    SimilarityWeight,
    ThingWeight,
)
from mrnn.cli.retrieval import (
    Exhaustive,
    Folds,
    MarginalImages,
    measure_retrieval,
    retrieval_lines,
)
from mrnn.cli.score import (
    Frequencies,
    Meteor,
    SampledReferences,
    Seed,
    basis_lines,
    sampling_settings,
    score_table,
)
from mrnn.cli.terminal import (
    ConsensusSource,
    Json,
    ModelDevice,
    Overwrite,
    RunDevice,
    consensus_source,
    found_device,
    progress,
    run_name,
    show,
    tell,
)
from mrnn.errors import CheckpointError, OptionsError
from mrnn.outputs import check_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mrnn.data.dataset import CaptionedImage
    from mrnn.evaluation.evaluate import EvaluationReport
    from mrnn.evaluation.settings import Setting
    from mrnn.tokenizer import Vocabulary


PERPLEXITIES = {
    "perplexity": "perplexity", "perplexity_without_eos": "", "perplexity_over_vocabulary": ""
}  # fmt: skip
"""What each is called in the text; nothing beneath the first."""


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
    similarity_weight: SimilarityWeight = None,
    predicted_cider_weight: PredictedCiderWeight = None,
    thing_weight: ThingWeight = None,
    consensus: ConsensusSource = None,
    exhaustive: Exhaustive = False,
    marginal_images: MarginalImages = None,
    folds: Folds = 1,
    device: ModelDevice = RunDevice.cpu,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images")] = None,
    references: SampledReferences = None,
    seed: Seed = 0,
    meteor: Meteor = True,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|MODEL",
            help="Also perplexity over this vocabulary: a vocabulary.txt, or that of a model",
        ),
    ] = None,
    frequencies: Frequencies = None,
    coco_results: Annotated[
        Path | None,
        typer.Option(help="Write the captions for the COCO server to this file, or in this folder"),
    ] = None,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model: perplexity, BLEU, METEOR, ROUGE-L, CIDEr, inventions, R@K."""
    from mrnn.captioning.caption_files.coco_results import coco_ids, write_coco_results
    from mrnn.captioning.captioner import Captioner
    from mrnn.data.dataset import Dataset
    from mrnn.data.features import load_features
    from mrnn.evaluation.evaluate import evaluate as evaluate_model
    from mrnn.metrics.cider import DocumentFrequencies
    from mrnn.model.checkpoint import DEFAULT_MODEL

    model = run or DEFAULT_MODEL
    tasks = [Task.perplexity, Task.generation, Task.retrieval] if task is Task.all else [task]
    given = DocumentFrequencies.load(frequencies) if frequencies else None
    other = _vocabulary(vocabulary, tasks) if vocabulary else None
    dataset = Dataset.load(data)
    images, notes, sampling = _sampled(dataset.split(split)[:limit], references, seed)
    if Task.retrieval in tasks:
        notes += _folded(len(images), folds)
    results = (
        _results_file(coco_results, split, tasks, overwrite=overwrite) if coco_results else None
    )
    ids = coco_ids([image.name for image in images]) if results else []
    captioner = Captioner.for_features(
        model, consensus_source(consensus), device=found_device(device)
    )
    checkpoint = captioner.checkpoint
    training = dataset.split("train") if "train" in dataset.splits else ()
    if not training and Task.generation in tasks:
        notes.append(f"novel: {data} has no train split to compare captions with")
    features = load_features(dataset, checkpoint.encoder).of(images)
    asked = {
        "n_best": 1,
        "beam_size": beam_size,
        "similarity_weight": similarity_weight,
        "predicted_cider_weight": predicted_cider_weight,
        "thing_weight": thing_weight,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    decoding, reranking = options_of(checkpoint.config, asked)
    with progress("Captioning", len(images)) as advance:
        report = evaluate_model(
            captioner, images, features,
            tasks=tasks, decoding=decoding, reranking=reranking, training=training,
            vocabulary=other, frequencies=given, with_meteor=meteor, seed=seed, on_image=advance,
        )  # fmt: skip
    if results:
        write_coco_results(results, ids, report.captions)
        tell(f"Wrote {results}")
    named = {"model": run_name(model), "data": str(data), "split": split}
    named |= {"vocabulary": str(vocabulary)} if vocabulary else {}
    changes = {"settings": named | report.settings | sampling, "notes": notes + report.notes}
    report = report.model_copy(update=changes)
    if Task.retrieval in tasks:
        try:
            found = measure_retrieval(
                checkpoint, dataset, images,
                exhaustive=exhaustive, marginal_images=marginal_images, folds=folds, seed=seed,
            )  # fmt: skip
            report = report.with_figures(
                found.settings, found.intervals, found.notes, retrieval=found.scores
            )
        except CheckpointError as error:
            if task is Task.retrieval:
                raise
            report = report.with_figures({}, {}, [f"retrieval: {error}"])
    show(report, lambda: f"{split} of {data}\n{_tables(report)}", as_json=as_json)


def _sampled(
    images: "Sequence[CaptionedImage]", count: int | None, seed: int
) -> "tuple[Sequence[CaptionedImage], list[str], dict[str, Setting]]":
    """The images with sampled references, notes, and settings."""
    from mrnn.data.caption_matching import sample_references

    if count is None:
        return images, [], {}
    captions = [image.captions for image in images]
    sampled, notes = sample_references([image.name for image in images], captions, count, seed)
    sampled_images = [replace(i, captions=c) for i, c in zip(images, sampled, strict=True)]
    return sampled_images, notes, sampling_settings(count, seed)


def _vocabulary(given: Path, tasks: "Sequence[Task]") -> "Vocabulary":
    """The vocabulary in a file, or that of a model in a folder or in the package."""
    from mrnn.model.checkpoint import DEFAULT_MODEL, VOCABULARY
    from mrnn.tokenizer import Vocabulary

    if Task.perplexity not in tasks:
        raise OptionsError("--vocabulary needs perplexity; give --task perplexity, or all")
    shipped = DEFAULT_MODEL.parent / given / VOCABULARY
    file = given / VOCABULARY if given.is_dir() else given
    if not given.exists() and len(given.parts) == 1 and shipped.is_file():
        file = shipped
    return Vocabulary.load(file, "give the vocabulary.txt of a model, or its folder")


def _folded(images: int, count: int) -> list[str]:
    """A note on images that fill no fold. Refuses more folds than images."""
    if count > images:
        raise OptionsError(
            f"--folds {count:,}: there are {images:,} images; expected 1 to {images:,}"
        )
    left, size = images % count, images // count
    return [f"retrieval: {count:,} folds of {size:,}; the last {left:,} are in none"] * bool(left)


def _results_file(given: Path, split: str, tasks: "Sequence[Task]", *, overwrite: bool) -> Path:
    """The file of captions for the COCO server. Refuses now what could not be written later."""
    if Task.generation not in tasks:
        raise OptionsError("--coco-results needs captions; give --task generation, or all")
    file = given / f"captions_{split}_mrnn_results.json" if given.is_dir() else given
    check_output("--coco-results", file, overwrite=overwrite)
    return file


def _tables(report: "EvaluationReport") -> str:
    from mrnn.evaluation.evaluate import describe_decoding

    settings = report.settings
    names = ("model", "recipe", "encoder")
    lines = ["; ".join(f"{name}: {settings[name]}" for name in names)]
    if report.perplexity is not None:
        for key, name in PERPLEXITIES.items():
            if getattr(report, key) is None:
                continue
            low, high = report.intervals[key]
            interval = f"{low:.2f} to {high:.2f}"
            lines.append(f"{name:<10} {getattr(report, key):7.2f}   {interval:<16} {settings[key]}")
        lines.append(
            f"captions of people: {settings['words']:,} words, of which "
            f"{settings['unknown_words']:,} are not among the model's "
            f"{settings['vocabulary_words']:,}"
        )
    if report.perplexity_over_vocabulary is not None:
        lines.append(
            f"vocabulary: {settings['vocabulary']}; it shares {settings['shared_words']:,} words "
            f"with the model; {settings['words_not_shared']:,} words of the captions are no such"
        )
    if report.generation is not None:
        lines += [score_table(report), f"captions of the model: {describe_decoding(settings)}"]
    lines += _confidence_lines(report)
    lines += retrieval_lines(report.retrieval, report.intervals, settings)
    if settings.get("folds", 1) != 1:
        lines.append(f"each figure of retrieval is the mean over {settings['folds']:,} folds")
    return "\n".join([*lines, basis_lines(settings)])


def _confidence_lines(report: "EvaluationReport") -> list[str]:
    if (scores := report.confidence) is None:
        return []
    told = []
    for name in ("cider", "familiarity"):
        key = f"{name}_correlation"
        low, high = report.intervals[f"confidence.{key}"]
        told.append(f"{getattr(scores, key):.3f} ({low:.3f} to {high:.3f})")
    return [
        f"confidence: mean {scores.mean:.3f}, right captions {scores.right:.3f}, expected "
        f"calibration error {scores.expected_calibration_error:.3f}; "
        f"{report.settings['confidence']}",
        f"correlation with CIDEr-D: of confidence {told[0]}, of familiarity {told[1]}",
    ]
