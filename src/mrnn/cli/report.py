"""Report on a model, or on two, as a page of HTML."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.consensus import ConsensusSource, consensus_source
from mrnn.cli.decoding_flags import BeamSize, decoding_options
from mrnn.cli.scores import Meteor
from mrnn.cli.terminal import progress, tell
from mrnn.errors import CheckpointError, OptionsError
from mrnn.whole_files import write_whole

if TYPE_CHECKING:
    import numpy as np

    from mrnn.checkpoint import Checkpoint
    from mrnn.dataset import CaptionedImage
    from mrnn.ranking import Ranker
    from mrnn.report import Ranks, ShownImage


def report(
    run: Annotated[Path | None, typer.Argument(help="A model [default: the shipped one]")] = None,
    run_b: Annotated[Path | None, typer.Argument(help="Another, to set beside it")] = None,
    *,
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    split: Annotated[str, typer.Option(help="Which split to report on")] = "dev",
    out: Annotated[Path, typer.Option(help="The page to write")] = Path("report.html"),
    limit: Annotated[int, typer.Option(min=1, help="How many photos to show")] = 200,
    beam_size: BeamSize = None,
    consensus: ConsensusSource = None,
    meteor: Meteor = True,
) -> None:
    """Show what a model says of photos, or two models, on one page of HTML."""
    from mrnn.captioner import Captioner
    from mrnn.checkpoint import DEFAULT_MODEL, Checkpoint
    from mrnn.consensus import Consensus
    from mrnn.dataset import Dataset
    from mrnn.features import load_features
    from mrnn.report import Run, make_report, read_epochs
    from mrnn.report_page import report_page

    if out.is_dir():
        raise OptionsError(f"--out {out} is a folder; name a file in it, such as report.html")
    if not out.parent.is_dir():
        raise OptionsError(f"--out {out}: there is no folder {out.parent}; make it first")
    dataset = Dataset.load(data)
    images = dataset.split(split)
    asked = {} if beam_size is None else {"beam_size": beam_size}
    runs = []
    for folder in (run or DEFAULT_MODEL, run_b):
        if folder is None:
            continue
        checkpoint = Checkpoint.load(folder)
        features = load_features(dataset, checkpoint.encoder).of(images)
        options = decoding_options(checkpoint.decoding, asked)
        name = "the shipped model" if folder == DEFAULT_MODEL else str(folder)
        ranker = _ranker(folder, checkpoint)
        ranks = _ranks(ranker, images, features) if ranker else ()
        source = consensus_source(consensus)
        others = None if source is None else Consensus.load(source, checkpoint)
        captioner = Captioner(checkpoint, consensus=others, ranker=ranker)
        runs.append(Run(name, captioner, features, options, read_epochs(folder), ranks))
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
    tell(f"Wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


def _ranker(run: Path, checkpoint: "Checkpoint") -> "Ranker | None":
    """None, with a note, for a model that has not learned to rank."""
    from mrnn.ranking import Ranker

    try:
        return Ranker.load(run, checkpoint)
    except CheckpointError as error:
        tell(f"Note: retrieval: {error}")
        return None


def _ranks(
    ranker: "Ranker", images: "Sequence[CaptionedImage]", features: "np.ndarray"
) -> "tuple[Ranks, ...]":
    """As `mrnn evaluate` ranks."""
    import torch

    from mrnn.recipe import TrainingOptions
    from mrnn.report import rank_split
    from mrnn.training import chosen_precision

    precision = getattr(torch, chosen_precision(TrainingOptions()))
    return rank_split(ranker, images, features, precision)


def _tell_of_missing(images: "tuple[ShownImage, ...]") -> None:
    problems = [image.problem for image in images if image.problem]
    if problems:
        tell(
            f"Note: {len(problems):,} of {len(images):,} photos have no picture in the report; "
            f"the first: {problems[0]}"
        )
