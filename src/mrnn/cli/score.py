"""Score captions of any system, and compare two."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import Json, check_output, show
from mrnn.files import write_whole

if TYPE_CHECKING:
    from mrnn.data.caption_reader import Matched
    from mrnn.evaluation.captions import CaptionStatistics, ScoreReport, Setting
    from mrnn.evaluation.evaluate import EvaluationReport

Hypotheses = Annotated[
    Path, typer.Argument(help="Captions: COCO results, or .jsonl, .csv, .tsv, .txt")
]
ReferenceFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="REFERENCES...",
        help="COCO annotations, .jsonl, .csv, .tsv, a dataset folder, or .txt files side by side",
    ),
]
Split = Annotated[str | None, typer.Option(help="Which split, where REFERENCES is a dataset")]
Draw = Annotated[
    int | None, typer.Option(min=1, help="Draw so many references of each image that has more")
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="For the drawing and for the intervals")
]
Meteor = Annotated[bool, typer.Option(help="Run METEOR, if it and Java are installed")]
Frequencies = Annotated[
    Path | None, typer.Option(help="Document frequencies for CIDEr [default: of the references]")
]


def score(
    hypotheses: Hypotheses,
    reference_files: ReferenceFiles,
    *,
    split: Split = None,
    references: Draw = None,
    seed: Seed = 0,
    meteor: Meteor = True,
    frequencies: Frequencies = None,
    save_frequencies: Annotated[
        Path | None, typer.Option(help="Write the document frequencies of REFERENCES to a file")
    ] = None,
    per_image: Annotated[
        Path | None, typer.Option(help="Write the scores of every image to a .csv file")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score any system's captions: BLEU, METEOR, ROUGE-L, CIDEr."""
    from mrnn.evaluation.captions import score as score_captions
    from mrnn.metrics.cider import DocumentFrequencies
    from mrnn.tokenizer import tokenize

    for option, file in (("--save-frequencies", save_frequencies), ("--per-image", per_image)):
        if file:
            check_output(option, file)
    given = DocumentFrequencies.load(frequencies) if frequencies else None
    matched, drawn, draw = match([hypotheses], reference_files, split, references, seed)
    words = [[tokenize(text) for text in texts] for texts in drawn]
    report, statistics = score_captions(
        [tokenize(text) for text in matched.systems[0]],
        words,
        frequencies=given,
        with_meteor=meteor,
        seed=seed,
    )
    told = {"notes": matched.notes + report.notes, "settings": report.settings | draw}
    report = report.model_copy(update=told)
    if save_frequencies:
        DocumentFrequencies.of(words).save(save_frequencies)
    if per_image:
        _write_per_image(per_image, matched, statistics)
    show(
        report,
        lambda: f"{hypotheses}\n{score_table(report)}\n{basis_lines(report.settings)}",
        as_json=as_json,
    )


def match(
    systems: Sequence[Path],
    sources: Sequence[Path],
    split: str | None,
    count: int | None,
    seed: int,
) -> tuple["Matched", list[tuple[str, ...]], "dict[str, Setting]"]:
    """What is of one image, the references that count, and how they were drawn."""
    from mrnn.data.caption_reader import draw_references, match_files

    matched = match_files(systems, sources, split)
    if count is None:
        return matched, matched.references, {}
    drawn, notes = draw_references(matched.images, matched.references, count, seed)
    matched.notes.extend(notes)
    return matched, drawn, draw_settings(count, seed)


def draw_settings(count: int, seed: int) -> "dict[str, Setting]":
    """How references were drawn, for a report."""
    return {"drawn_references": count, "drawing_seed": seed}


def _write_per_image(file: Path, matched: "Matched", statistics: "CaptionStatistics") -> None:
    scores = statistics.of_images()
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(["image", "caption", *scores])
    writer.writerows(zip(matched.images, matched.systems[0], *scores.values(), strict=True))
    write_whole(file, content.getvalue())


def score_table(report: "ScoreReport | EvaluationReport") -> str:
    """The scores of captions, each with its interval and what it depends on."""
    from mrnn.evaluation.captions import MEASURES, depends_on

    assert report.generation is not None
    settings = report.settings
    lines = [f"{'':<10} {settings['protocol']:>7}   95 % interval    depends on"]
    for key, name in (MEASURES | {"distinct": "distinct", "novel": "novel"}).items():
        value = getattr(report.generation, key)
        if key == "novel" and value is None:
            continue
        figure = "    n/a" if value is None else f"{value:7.3f}"
        low, high = report.intervals.get(key, (None, None))
        interval = f"{low:.3f} to {high:.3f}" if low is not None else ""
        lines.append(f"{name:<10} {figure}   {interval:<16} {depends_on(key, settings)}".rstrip())
    return "\n".join(lines)


def basis_lines(settings: "dict[str, Setting]", how: str = "over images") -> str:
    """What all figures are of, and how the intervals were made."""
    drawn = ""
    if "drawn_references" in settings:
        drawn = f", {settings['drawn_references']} drawn of more, seed {settings['drawing_seed']}"
    fixed = ", document frequencies fixed" if "document_frequencies_of" in settings else ""
    return (
        f"images: {settings['images']:,}; references: {settings['references']:,} "
        f"({settings['protocol']}{drawn}); words: {settings['tokenizer']}\n"
        f"intervals: {how}, {settings['resamples']:,} resamples, "
        f"seed {settings['resampling_seed']}{fixed}"
    )
