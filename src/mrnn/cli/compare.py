"""Compare the captions of two systems."""

from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.score import (
    Frequencies,
    Hypotheses,
    Meteor,
    ReferenceFiles,
    SampledReferences,
    Seed,
    Split,
    basis_lines,
    match,
)
from mrnn.cli.terminal import Json, show

if TYPE_CHECKING:
    from mrnn.evaluation.comparison import ComparisonReport, Difference


def compare(
    hypotheses_a: Hypotheses,
    hypotheses_b: Hypotheses,
    reference_files: ReferenceFiles,
    *,
    split: Split = None,
    references: SampledReferences = None,
    seed: Seed = 0,
    meteor: Meteor = True,
    frequencies: Frequencies = None,
    top: Annotated[int, typer.Option(min=0, help="How many images to show for each")] = 5,
    as_json: Json = False,
) -> None:
    """Compare two systems on the same images: a paired bootstrap."""
    from mrnn.evaluation.comparison import compare as compare_captions
    from mrnn.metrics.cider import DocumentFrequencies

    given = DocumentFrequencies.load(frequencies) if frequencies else None
    systems = [hypotheses_a, hypotheses_b]
    matched, sampled, sampling = match(systems, reference_files, split, references, seed)
    report = compare_captions(
        matched.images,
        matched.systems[0],
        matched.systems[1],
        sampled,
        frequencies=given,
        with_meteor=meteor,
        top=top,
        seed=seed,
    )
    changes = {"notes": matched.notes + report.notes, "settings": report.settings | sampling}
    report = report.model_copy(update=changes)
    head = f"A  {hypotheses_a}\nB  {hypotheses_b}"
    show(report, lambda: f"{head}\n{_comparison(report)}", as_json=as_json)


def _comparison(report: "ComparisonReport") -> str:
    from mrnn.evaluation.captions import MEASURES, decimals_of

    head = f"{'':<10} {'A':>7} {'B':>7}   {'A - B':>7}   95 % interval      better on (images)"
    lines = [head]
    for key, name in MEASURES.items():
        found = report.differences[key]
        if found is None:
            lines.append(f"{name:<10}     n/a     n/a")
            continue
        (low, high), digits = found.interval, decimals_of(key)
        lines.append(
            f"{name:<10} {found.a:7.{digits}f} {found.b:7.{digits}f}   "
            f"{found.difference:+7.{digits}f}   {low:+.{digits}f} to {high:+.{digits}f}   "
            f"A {found.wins_a:,}, B {found.wins_b:,}"
        )
    lines += [basis_lines(report.settings, "paired over images"), ""]
    lines += [_verdict(key, found) for key, found in report.differences.items() if found]
    for label, wins in (("A", report.wins_a), ("B", report.wins_b)):
        if wins:
            lines += ["", f"{label} is most ahead, by CIDEr-D, on:"]
        for win in wins:
            lines += [
                win.image,
                f"  A {win.cider_a:6.3f}  {win.a}",
                f"  B {win.cider_b:6.3f}  {win.b}",
            ]
    return "\n".join(lines)


def _verdict(key: str, found: "Difference") -> str:
    from mrnn.evaluation.captions import MEASURES, decimals_of
    from mrnn.evaluation.comparison import better_of

    (low, high), digits, better = found.interval, decimals_of(key), better_of(key, found)
    verdict = "no difference beyond chance"
    if better:
        verdict = f"{better} is better by {abs(found.difference):.{digits}f}"
        low, high = sorted((abs(low), abs(high)))
    return f"{MEASURES[key]}: {verdict}, 95 % interval {low:.{digits}f} to {high:.{digits}f}"
