"""Score captions of any system, and compare two."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import Json, Overwrite, show
from mrnn.outputs import check_output, write_whole

if TYPE_CHECKING:
    from mrnn.data.caption_matching import Matched
    from mrnn.evaluation.captions import CaptionStatistics, ScoreReport
    from mrnn.evaluation.evaluate import EvaluationReport
    from mrnn.evaluation.settings import Setting

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
SampledReferences = Annotated[
    int | None, typer.Option(min=1, help="Sample so many references of each image that has more")
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Of sampled references and of the intervals")
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
    references: SampledReferences = None,
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
    overwrite: Overwrite = False,
) -> None:
    """Score any system's captions: BLEU, METEOR, ROUGE-L, CIDEr, inventions."""
    from mrnn.evaluation.captions import score as score_captions
    from mrnn.metrics.cider import DocumentFrequencies
    from mrnn.tokenizer import tokenize

    inputs = [hypotheses, *reference_files, *([frequencies] if frequencies else [])]
    if per_image:
        check_output(
            "--per-image", per_image, ours=_is_per_image, inputs=inputs, overwrite=overwrite
        )
        inputs.append(per_image)
    if save_frequencies:
        check_output(
            "--save-frequencies", save_frequencies,
            ours=DocumentFrequencies.is_file, inputs=inputs, overwrite=overwrite,
        )  # fmt: skip
    given = DocumentFrequencies.load(frequencies) if frequencies else None
    matched, sampled, sampling = match([hypotheses], reference_files, split, references, seed)
    words = [[tokenize(text) for text in texts] for texts in sampled]
    report, statistics = score_captions(
        [tokenize(text) for text in matched.systems[0]],
        words,
        frequencies=given,
        with_meteor=meteor,
        seed=seed,
    )
    changes = {"notes": matched.notes + report.notes, "settings": report.settings | sampling}
    report = report.model_copy(update=changes)
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
    """Captions and references matched by image, sampled references, and their settings."""
    from mrnn.data.caption_matching import sample_references
    from mrnn.data.caption_reader import match_files

    matched = match_files(systems, sources, split)
    if count is None:
        return matched, matched.references, {}
    sampled, notes = sample_references(matched.images, matched.references, count, seed)
    matched.notes.extend(notes)
    return matched, sampled, sampling_settings(count, seed)


def sampling_settings(count: int, seed: int) -> "dict[str, Setting]":
    """The settings of sampled references, for a report."""
    return {"sampled_references": count, "sampling_seed": seed}


def _is_per_image(start: bytes) -> bool:
    return start.startswith(b"image,caption,bleu_1,")


def _write_per_image(file: Path, matched: "Matched", statistics: "CaptionStatistics") -> None:
    scores = statistics.of_images()
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(["image", "caption", *scores])
    writer.writerows(zip(matched.images, matched.systems[0], *scores.values(), strict=True))
    write_whole(file, content.getvalue())


def score_table(report: "ScoreReport | EvaluationReport") -> str:
    """The scores of captions, each with its interval and what it depends on."""
    from mrnn.evaluation.captions import MEASURES, decimals_of
    from mrnn.evaluation.settings import depends_on

    assert report.generation is not None
    settings = report.settings
    lines = [f"{'':<10} {settings['protocol']:>7}   95 % interval    depends on"]
    for key, name in (MEASURES | {"distinct": "distinct", "novel": "novel"}).items():
        value = getattr(report.generation, key)
        if key == "novel" and value is None:
            continue
        digits = decimals_of(key)
        figure = "    n/a" if value is None else f"{value:7.{digits}f}"
        low, high = report.intervals.get(key, (None, None))
        interval = f"{low:.{digits}f} to {high:.{digits}f}" if low is not None else ""
        lines.append(f"{name:<10} {figure}   {interval:<16} {depends_on(key, settings)}".rstrip())
    return "\n".join(lines)


def basis_lines(settings: "dict[str, Setting]", how: str = "over images") -> str:
    """The images, references and words of all figures, and how the intervals were made."""
    sampled = ""
    if "sampled_references" in settings:
        sampled = (
            f", {settings['sampled_references']} sampled of more, seed {settings['sampling_seed']}"
        )
    fixed = ", document frequencies fixed" if "document_frequencies_of" in settings else ""
    return (
        f"images: {settings['images']:,}; references: {settings['references']:,} "
        f"({settings['protocol']}{sampled}); words: {settings['tokenizer']}\n"
        f"intervals: {how}, {settings['resamples']:,} resamples, "
        f"seed {settings['resampling_seed']}{fixed}"
    )
