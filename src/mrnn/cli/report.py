"""Report on a model, or on two, as a page of HTML."""

from collections.abc import Sequence
from dataclasses import replace
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
from mrnn.cli.score import Meteor
from mrnn.cli.terminal import (
    ConsensusSource,
    Overwrite,
    consensus_source,
    progress,
    run_name,
    tell,
)
from mrnn.outputs import check_output, is_page, write_whole

if TYPE_CHECKING:
    from mrnn.data.dataset import CaptionedImage
    from mrnn.evaluation.report.report import Run, ShownImage
    from mrnn.evaluation.retrieval import RetrievalReport


def report(
    run: Annotated[Path | None, typer.Argument(help="A model [default: the shipped one]")] = None,
    run_b: Annotated[Path | None, typer.Argument(help="Another, to compare with it")] = None,
    *,
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    split: Annotated[str, typer.Option(help="Which split to report on")] = "dev",
    out: Annotated[Path, typer.Option(help="The page to write")] = Path("report.html"),
    limit: Annotated[int, typer.Option(min=1, help="How many photos to show")] = 200,
    beam_size: BeamSize = None,
    similarity_weight: SimilarityWeight = None,
    predicted_cider_weight: PredictedCiderWeight = None,
    thing_weight: ThingWeight = None,
    consensus: ConsensusSource = None,
    meteor: Meteor = True,
    overwrite: Overwrite = False,
) -> None:
    """Write a page of HTML with the captions and figures of a model, or of two."""
    from rich.filesize import decimal

    from mrnn.captioning.captioner import Captioner
    from mrnn.data.dataset import Dataset
    from mrnn.data.features import load_features
    from mrnn.evaluation.report.page import report_page
    from mrnn.evaluation.report.report import Run, make_report
    from mrnn.model.checkpoint import DEFAULT_MODEL
    from mrnn.model.epochs import read_epochs

    check_output("--out", out, ours=is_page, overwrite=overwrite)
    dataset = Dataset.load(data)
    images = dataset.split(split)
    flags = {
        "beam_size": beam_size,
        "similarity_weight": similarity_weight,
        "predicted_cider_weight": predicted_cider_weight,
        "thing_weight": thing_weight,
    }
    asked = {name: value for name, value in flags.items() if value is not None}
    folders = [run or DEFAULT_MODEL] + ([run_b] if run_b else [])
    runs = []
    for folder in folders:
        captioner = Captioner.for_features(folder, consensus_source(consensus))
        checkpoint = captioner.checkpoint
        if checkpoint.heads is None:
            tell(
                f"Note: retrieval: {run_name(folder)} has no retrieval head. "
                f"Run: mrnn train-heads {folder} --data {data}"
            )
        features = load_features(dataset, checkpoint.encoder).of(images)
        decoding, reranking = options_of(checkpoint.config, asked)
        epochs = read_epochs(folder)
        runs.append(Run(run_name(folder), captioner, features, decoding, reranking, epochs))
    runs = [replace(run, retrieval=_retrieval(run, images)) for run in runs]
    with progress("Captioning", len(images) * len(runs)) as advance:
        found = make_report(
            runs, images,
            data=str(data), split=split, limit=limit,
            training=dataset.split("train") if "train" in dataset.splits else (),
            with_meteor=meteor, on_image=advance,
        )  # fmt: skip
    for note in dict.fromkeys(note for one in found.runs for note in one.figures.notes):
        tell(f"Note: {note}")
    _tell_of_missing(found.images)
    write_whole(out, report_page(found))
    tell(f"Wrote {out} ({decimal(out.stat().st_size)})")


def _retrieval(run: "Run", images: "Sequence[CaptionedImage]") -> "RetrievalReport | None":
    """Retrieval as `mrnn evaluate` measures it; None without heads or images in the model."""
    from mrnn.evaluation.evaluate import references_of
    from mrnn.evaluation.retrieval import evaluate_retrieval
    from mrnn.tokenizer import EncodedCaptions

    checkpoint = run.captioner.checkpoint
    if checkpoint.heads is None or not checkpoint.config.model.sees_image:
        return None
    captions = EncodedCaptions.of(references_of(images), checkpoint.vocabulary)
    return evaluate_retrieval(checkpoint.network, captions, run.features, heads=checkpoint.heads)


def _tell_of_missing(images: "tuple[ShownImage, ...]") -> None:
    problems = [image.problem for image in images if image.problem]
    if problems:
        tell(
            f"Note: {len(problems):,} of {len(images):,} photos have no picture in the report; "
            f"the first: {problems[0]}"
        )
