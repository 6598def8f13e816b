"""The figures of a report as one table of HTML."""

import html
from collections.abc import Iterator, Sequence

from mrnn.caption_scores import MEASURES, depends_on
from mrnn.comparison import Difference
from mrnn.report import Report

LETTERS = "AB"
PERPLEXITIES = (
    ("perplexity", "perplexity", "words of the references, unknown ones and end signs counted"),
    ("perplexity_without_end", "of words alone", "the same, without end signs"),
)


def figures_table(report: Report) -> str:
    """The table of all measures, and beneath it what they depend on."""
    pair = report.comparison is not None
    heads = ["<th>measure</th>"]
    for number in range(len(report.runs)):
        heads.append(f'<th class="number">{label(report, number) or "figure"}</th>')
        heads.append('<th class="number">95 % interval</th>')
    if pair:
        heads += ['<th class="number">A &minus; B</th>', '<th class="number">95 % interval</th>']
        heads += ["<th>better</th>", '<th class="number">photos A</th>']
        heads.append('<th class="number">photos B</th>')
    rows = [
        *_perplexity_rows(report, pair),
        *_measure_rows(report),
        *_retrieval_rows(report, pair),
    ]
    settings = report.runs[0].figures.settings
    notes = dict.fromkeys(note for run in report.runs for note in run.figures.notes)
    notes |= dict.fromkeys(report.comparison.notes if report.comparison else ())
    context = (
        f"References: {settings['protocol']}. Words: {settings['tokenizer']}. Intervals: over "
        f"photos{', differences paired' if pair else ''}, {settings['resamples']:,} resamples, "
        f"seed {settings['resampling_seed']}, document frequencies fixed."
    )
    if pair:
        context += (
            " Neither is better where the interval of the difference holds 0. "
            "Photos A, B: where that one is ahead."
        )
    return (
        f'<p class="soft">{escaped(context)}</p>'
        '<div class="scroll" role="region" aria-label="Table of figures" tabindex="0"><table>'
        f"<thead><tr>{''.join(heads)}<th>depends on</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        + "".join(f'<p class="soft">Note: {escaped(note)}</p>' for note in notes)
        + "".join(
            f'<p class="soft">{label(report, number)} {escaped(run.name)} has not learned to rank, '
            "so it has no figures of retrieval. mrnn train-ranking teaches it.</p>"
            for number, run in enumerate(report.runs)
            if run.sentences_of_photos is None
        )
    )


def _perplexity_rows(report: Report, pair: bool) -> Iterator[str]:
    for key, name, what in PERPLEXITIES:
        cells = [
            f'<td class="number">{getattr(run.figures, key):.2f}</td>'
            f'<td class="number">{_interval(run.figures.intervals.get(key), digits=2)}</td>'
            for run in report.runs
        ]
        yield _row(name, [*cells, "<td></td>" * 5 * pair], what)


def _measure_rows(report: Report) -> Iterator[str]:
    settings = report.runs[0].figures.settings
    for key, name in (MEASURES | {"distinct": "distinct", "novel": "novel"}).items():
        values = [getattr(run.figures.generation, key) for run in report.runs]
        if key == "novel" and None in values:
            continue
        cells = []
        for run, value in zip(report.runs, values, strict=True):
            interval = run.figures.intervals.get(key)
            cells.append(f'<td class="number">{"n/a" if value is None else f"{value:.3f}"}</td>')
            cells.append(f'<td class="number">{_interval(interval)}</td>')
        if report.comparison:
            cells.append(_difference(report.comparison.differences.get(key)))
        yield _row(name, cells, depends_on(key, settings))


def _retrieval_rows(report: Report, pair: bool) -> Iterator[str]:
    settings = report.runs[0].figures.settings
    directions = {
        "sentences_of_photos": f"percent of photos; {settings['references']:,} sentences compete",
        "photos_of_sentences": f"percent of sentences; {settings['images']:,} photos compete",
    }
    figures = {"r_at_1": "R@1", "r_at_5": "R@5", "r_at_10": "R@10", "median_rank": "median rank"}
    for direction, what in directions.items():
        found = [getattr(run, direction) for run in report.runs]
        if not any(found):
            continue
        for key, name in figures.items():
            cells = [
                f'<td class="number">{f"{getattr(one, key):.1f}" if one else "n/a"}</td><td></td>'
                for one in found
            ]
            of = what if key != "median_rank" else what.partition("; ")[2]
            yield _row(
                f"{name}, {direction.partition('_')[0]}", [*cells, "<td></td>" * 5 * pair], of
            )


def _row(name: str, cells: Sequence[str], what: str) -> str:
    return (
        f'<tr><th scope="row">{name}</th>{"".join(cells)}<td class="soft">{escaped(what)}</td></tr>'
    )


def _interval(interval: tuple[float, float] | None, sign: str = "", digits: int = 3) -> str:
    return "" if interval is None else " to ".join(f"{end:{sign}.{digits}f}" for end in interval)


def _difference(found: Difference | None) -> str:
    if found is None:
        return "<td></td>" * 5
    low, high = found.interval
    better = "neither" if low <= 0 <= high else "AB"[found.difference < 0]
    return (
        f'<td class="number">{found.difference:+.3f}</td>'
        f'<td class="number">{_interval(found.interval, "+")}</td>'
        f'<td>{better}</td><td class="number">{found.wins_a:,}</td>'
        f'<td class="number">{found.wins_b:,}</td>'
    )


def escaped(value: str) -> str:
    """Safe as content and as the value of an attribute."""
    return html.escape(value.encode("utf-8", "backslashreplace").decode())


def label(report: Report, run: int) -> str:
    """What figures of a run are headed by; nothing where there is but one."""
    return f'<span class="run{run}">{LETTERS[run]}</span>' if len(report.runs) > 1 else ""
