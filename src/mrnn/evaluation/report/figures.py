"""The figures of a report as one table of HTML."""

from collections.abc import Iterator, Sequence

from mrnn.evaluation.captions import MEASURES, decimals_of
from mrnn.evaluation.comparison import Difference, better_of
from mrnn.evaluation.report.report import Report
from mrnn.evaluation.settings import depends_on
from mrnn.pages import escaped

LETTERS = "AB"
NO_DIFFERENCE = "<td></td>" * 3
PERPLEXITIES = {"perplexity": "perplexity", "perplexity_without_eos": "without &lt;eos&gt;"}
DIRECTIONS = {
    "image_to_sentence": "percent of photos; {candidate_sentences:,} sentences compete",
    "sentence_to_image": "percent of sentences; {candidate_images:,} photos compete",
}
RECALLS = {
    "r@1": "R@1", "r@5": "R@5", "r@10": "R@10",
    "median_rank": "median rank", "mean_rank": "mean rank",
}  # fmt: skip


def figures_table(report: Report) -> str:
    """The table of all measures, and beneath it what they depend on."""
    pair = report.comparison is not None
    runs = [label(report, number) or "figure" for number in range(len(report.runs))]
    heads = ["<th>measure</th>", *(f'<th class="number">{run}</th>' for run in runs)]
    if pair:
        heads += ['<th class="number">A &minus; B</th>', "<th>better</th>", "<th>photos ahead</th>"]
    rows = [*_perplexity_rows(report), *_measure_rows(report), *_retrieval_rows(report)]
    settings = report.runs[0].figures.settings
    notes = dict.fromkeys(note for run in report.runs for note in run.figures.notes)
    notes |= dict.fromkeys(report.comparison.notes if report.comparison else ())
    context = (
        f"References: {settings['protocol']}. Words: {settings['tokenizer']}. Beneath each figure: "
        f"its 95 % interval over photos{', differences paired' if pair else ''}, "
        f"{settings['resamples']:,} resamples, "
        f"seed {settings['resampling_seed']}, document frequencies fixed."
    )
    if pair:
        context += (
            " Neither is better where the interval of the difference holds 0. "
            "Photos ahead: on how many each one is."
        )
    return (
        f'<p class="soft">{escaped(context)}</p>'
        '<div class="scroll" role="region" aria-label="Table of figures" tabindex="0"><table>'
        f"<thead><tr>{''.join(heads)}<th>depends on</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        + "".join(f'<p class="soft">{escaped(line)}</p>' for line in _retrieval_described(report))
        + "".join(f'<p class="soft">Note: {escaped(note)}</p>' for note in notes)
        + "".join(
            f'<p class="soft">{label(report, number)} {escaped(run.name)} has no retrieval head, '
            "so it has no figures of retrieval; run mrnn train-heads.</p>"
            for number, run in enumerate(report.runs)
            if run.figures.retrieval is None
        )
    )


def _perplexity_rows(report: Report) -> Iterator[str]:
    settings = report.runs[0].figures.settings
    sizes = dict.fromkeys(run.figures.settings["vocabulary_words"] for run in report.runs)
    known = f"a vocabulary of {' and one of '.join(f'{size:,}' for size in sizes)} words"
    for key, name in PERPLEXITIES.items():
        cells = [
            _figure(getattr(run.figures, key), run.figures.intervals.get(key), digits=2)
            for run in report.runs
        ]
        yield _row(report, name, cells, f"{settings[key]}; {known}")


def _measure_rows(report: Report) -> Iterator[str]:
    settings = report.runs[0].figures.settings
    for key, name in (MEASURES | {"distinct": "distinct", "novel": "novel"}).items():
        values = [getattr(run.figures.generation, key) for run in report.runs]
        if key == "novel" and None in values:
            continue
        cells = [
            _figure(value, run.figures.intervals.get(key), digits=decimals_of(key))
            for run, value in zip(report.runs, values, strict=True)
        ]
        differences = report.comparison.differences if report.comparison else {}
        between = _difference(key, differences.get(key))
        yield _row(report, name, cells, depends_on(key, settings), between)


def _retrieval_rows(report: Report) -> Iterator[str]:
    ranked = [run.figures for run in report.runs if run.figures.retrieval]
    if not ranked:
        return
    for direction, what in DIRECTIONS.items():
        depends = what.format_map(ranked[0].settings)
        for key, name in RECALLS.items():
            cells = []
            for figures in (run.figures for run in report.runs):
                found = figures.retrieval and getattr(figures.retrieval, direction)
                value = found.model_dump()[key] if found else None
                interval = figures.intervals.get(f"{direction}.{key}")
                cells.append(_figure(value, interval, digits=1))
            of = depends if key.startswith("r@") else depends.partition("; ")[2]
            yield _row(report, f"{name}, {direction.replace('_', ' ')}", cells, of)


def _retrieval_described(report: Report) -> Iterator[str]:
    """What the ranks depend on."""
    ranked = [run.figures.settings for run in report.runs if run.figures.retrieval]
    for settings in ranked[:1]:
        yield (
            f"Retrieval: {settings['retrieval']}, likelihoods {settings['likelihoods']}, "
            f"P(sentence) over the {settings['marginal_images']} nearest of the model's training "
            f"photos, equal scores {settings['equal_scores']}; the first of a photo's sentences "
            "that is found counts."
        )


def _row(
    report: Report,
    name: str,
    cells: Sequence[str],
    what: str,
    between: str = NO_DIFFERENCE,
) -> str:
    return (
        f'<tr><th scope="row">{name}</th>{"".join(cells)}{between if report.comparison else ""}'
        f'<td class="soft">{escaped(what)}</td></tr>'
    )


def _figure(
    value: float | int | None,
    interval: tuple[float, float] | None,
    sign: str = "",
    digits: int = 3,
) -> str:
    """A cell: the figure, and beneath it its interval."""
    beneath = ""
    if interval:
        ends = " to ".join(f"{end:{sign}.{digits}f}" for end in interval)
        beneath = f' <span class="interval">{ends}</span>'
    figure = "n/a" if value is None else f"{value:{sign}.{digits}f}"
    return f'<td class="number">{figure}{beneath}</td>'


def _difference(key: str, found: Difference | None) -> str:
    if found is None:
        return NO_DIFFERENCE
    figure = _figure(found.difference, found.interval, "+", decimals_of(key))
    return (
        f"{figure}<td>{better_of(key, found) or 'neither'}</td>"
        f"<td>A {found.wins_a:,}, B {found.wins_b:,}</td>"
    )


def label(report: Report, run: int) -> str:
    """What figures of a run are headed by; nothing where there is but one."""
    return f'<span class="run{run}">{LETTERS[run]}</span>' if len(report.runs) > 1 else ""
