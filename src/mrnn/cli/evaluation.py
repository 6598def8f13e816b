"""Measure a model."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.consensus import ConsensusSource, consensus_source
from mrnn.cli.decoding_flags import BeamSize, decoding_options
from mrnn.cli.terminal import Json, progress


class Task(StrEnum):
    """What `mrnn evaluate` can measure."""

    perplexity = "perplexity"
    generation = "generation"
    all = "all"


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A model [default: the shipped one]")] = None,
    *,
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    split: Annotated[str, typer.Option(help="Which split to measure on")] = "test",
    task: Annotated[Task, typer.Option(help="What to measure")] = Task.all,
    beam_size: BeamSize = None,
    consensus: ConsensusSource = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images")] = None,
    as_json: Json = False,
) -> None:
    """Measure a model: perplexity, BLEU, CIDEr."""
    from mrnn.captioner import Captioner
    from mrnn.checkpoint import DEFAULT_MODEL
    from mrnn.dataset import Dataset
    from mrnn.evaluation import evaluate as evaluate_model
    from mrnn.features import load_features

    dataset = Dataset.load(data)
    captioner = Captioner.load(run or DEFAULT_MODEL, consensus_source(consensus))
    images = dataset.split(split)[:limit]
    features = load_features(dataset, captioner.checkpoint.encoder).of(images)
    tasks = [Task.perplexity, Task.generation] if task is Task.all else [task]
    asked = {"n_best": 1} | ({"beam_size": beam_size} if beam_size is not None else {})
    options = decoding_options(captioner.checkpoint.decoding, asked)
    with progress("Captioning", len(images)) as advance:
        report = evaluate_model(
            captioner, images, features, tasks=tasks, options=options, on_image=advance
        )
    if as_json:
        print(report.model_dump_json())
        return
    print(f"{split} of {data}: {json.dumps(report.settings)}")
    if report.perplexity is not None:
        print(f"perplexity  {report.perplexity:.2f}")
    for name, value in report.generation.model_dump().items() if report.generation else ():
        print(f"{name:<11} {value:.3f}")
