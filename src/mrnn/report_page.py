"""A report as one page of HTML that needs no server and loads nothing from elsewhere.

All that comes from data is escaped, and the page allows no script but its own.
"""

import base64
import hashlib
import html
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from mrnn.caption_scores import MEASURES, depends_on
from mrnn.captioner import Caption
from mrnn.charts import Line, chart, histogram
from mrnn.comparison import Difference
from mrnn.decoding import DecodingOptions
from mrnn.report import Report, RunReport, ScoredCaption, ShownImage
from mrnn.tokenization import join_words

TEMPLATE = Path(__file__).with_suffix(".html")
SCRIPT = Path(__file__).with_suffix(".js")
LETTERS = "AB"
PERPLEXITIES = (
    ("perplexity", "perplexity", "words of the references, unknown ones and end signs counted"),
    ("perplexity_without_end", "of words alone", "the same, without end signs"),
)
LEVELS = (0.5, 0.2, 0.05, 0.01)
"""A word less likely than the first is marked, and more strongly below each that follows."""


def report_page(report: Report) -> str:
    """The page. It works without scripts too, then in one order."""
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    orders = _orders(report)
    images = _in_order(report)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=_text(f"Captions of {report.split}, {Path(report.data).name}"),
        summary=_summary(report),
        figures=_figures(report),
        charts="\n".join(_charts(report)),
        legend=_legend(orders[0][1]),
        orders="\n".join(f'<option value="{key}">{name}</option>' for key, name in orders),
        winners=_winner_control(report),
        photos="\n".join(_photo(image, place) for place, image in images),
        script=script,
        script_hash=f"sha256-{digest}",
    )


def _text(value: str) -> str:
    """Safe as content and as the value of an attribute."""
    return html.escape(value.encode("utf-8", "backslashreplace").decode())


def _label(report: Report, run: int) -> str:
    """What figures of a run are headed by; nothing where there is but one."""
    return f'<span class="run{run}">{LETTERS[run]}</span>' if len(report.runs) > 1 else ""


def _summary(report: Report) -> str:
    settings = report.runs[0].figures.settings
    runs = "".join(
        f"<li>{_label(report, number)} <strong>{_text(run.name)}</strong>: recipe "
        f"{_text(str(run.figures.settings['recipe']))}; image features: "
        f"{_text(str(run.figures.settings['encoder']))}; captions: "
        f"{_text(_decoding(run))}</li>"
        for number, run in enumerate(report.runs)
    )
    return (
        f"<p>Data: {_text(report.data)}, split {_text(report.split)}: {settings['images']:,} "
        f"photos, {settings['references']:,} captions. Figures and the chart of CIDEr-D are of "
        f"all of them; {len(report.images):,} photos are shown, evenly spaced.</p><ul>{runs}</ul>"
    )


def _decoding(run: RunReport) -> str:
    default = DecodingOptions().model_dump()
    said = [
        f"{name} {run.figures.settings[name]}"
        for name in default
        if name in ("beam_size", "length_exponent")
        or (name != "n_best" and run.figures.settings[name] != default[name])
    ]
    if source := run.figures.settings.get("consensus"):
        said.append(f"re-ranked by consensus ({source})")
    return ", ".join(said)


def _figures(report: Report) -> str:
    """The table of all measures, and beneath it what they depend on."""
    pair = report.comparison is not None
    heads = ["<th>measure</th>"]
    for number in range(len(report.runs)):
        heads.append(f'<th class="number">{_label(report, number) or "figure"}</th>')
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
        f'<p class="soft">{_text(context)}</p>'
        '<div class="scroll" role="region" aria-label="Table of figures" tabindex="0"><table>'
        f"<thead><tr>{''.join(heads)}<th>depends on</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        + "".join(f'<p class="soft">Note: {_text(note)}</p>' for note in notes)
        + "".join(
            f'<p class="soft">{_label(report, number)} {_text(run.name)} has not learned to rank, '
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
        f'<tr><th scope="row">{name}</th>{"".join(cells)}<td class="soft">{_text(what)}</td></tr>'
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


def _charts(report: Report) -> Iterator[str]:
    curves = []
    for number, run in enumerate(report.runs):
        for key, dashed in (("train", True), ("dev", False)):
            points = [
                (float(epoch.epoch), math.log2(getattr(epoch, f"{key}_perplexity")))
                for epoch in run.epochs
            ]
            if points:
                name = f"{_name(report, number)}{key}"
                curves.append(Line(name, points, number, dashed=dashed))
    if curves:
        yield chart(curves, title="Training", x="epoch", y="bits a word (log2 perplexity)")
    for number, run in enumerate(report.runs):
        if not run.epochs:
            yield (
                f'<p class="soft">{_label(report, number)} {_text(run.name)} holds no '
                "metrics.jsonl, so its training curve is not shown.</p>"
            )
    ciders = [run.ciders for run in report.runs]
    yield _histograms(report, ciders, "CIDEr-D of the first caption", "CIDEr-D of a photo")
    sure = [
        [_surety(image.captions[number][0].caption) for image in report.images]
        for number in range(len(report.runs))
    ]
    title = "How likely the model finds its first captions"
    yield _histograms(report, sure, title, "log P a word, in nats, the end sign counted")


def _name(report: Report, run: int) -> str:
    return f"{LETTERS[run]} " if len(report.runs) > 1 else ""


def _histograms(report: Report, values: Sequence[Sequence[float]], title: str, x: str) -> str:
    low, high = min(map(min, values)), max(map(max, values))
    lines = [
        Line(
            f"{_name(report, number)}mean {sum(its) / len(its):.3f}",
            histogram(its, low, high), number, filled=True,
        )
        for number, its in enumerate(values)
    ]  # fmt: skip
    return chart(lines, title=f"{title} ({len(values[0]):,} photos)", x=x, y="photos")


def _surety(caption: Caption) -> float:
    """Nats a word, the end sign counted."""
    return caption.log_probability / (len(caption.words) + 1)


def _ahead(image: ShownImage) -> float:
    """By how much A is better; by how much it is good, if it is the only one."""
    ciders = [found[0].cider for found in image.captions]
    return ciders[0] - ciders[1] if len(ciders) > 1 else ciders[0]


def _orders(report: Report) -> list[tuple[str, str]]:
    """Orders of the photos, the first as they come in the page: key and sign, and a name."""
    orders = []
    if report.comparison:
        orders += [("ahead -1", "A furthest ahead of B first"), ("ahead 1", "B furthest ahead")]
    for number in range(len(report.runs)):
        name = f"{_name(report, number)}CIDEr-D, "
        orders += [(f"cider{number} -1", f"{name}best first"), (f"cider{number} 1", f"{name}worst")]
    for number in range(len(report.runs)):
        name = f"{_name(report, number)}log P a word, "
        orders += [(f"sure{number} -1", f"{name}surest first"), (f"sure{number} 1", f"{name}least")]
    return [*orders, ("place 1", "as in the dataset")]


def _in_order(report: Report) -> list[tuple[int, ShownImage]]:
    """The photos, best first, with their places in the dataset."""
    return sorted(enumerate(report.images), key=lambda pair: -_ahead(pair[1]))


def _legend(order: str) -> str:
    steps = [1.0, *LEVELS]
    names = [f"{high:g} to {low:g}" for high, low in zip(steps, LEVELS, strict=False)]
    marks = ", ".join(
        f'<span class="p{level}">{name}</span>'
        for level, name in enumerate([*names, f"below {LEVELS[-1]:g}"])
    )
    return (
        f'<p>Order: {_text(order)}; <a href="#end">to the other end</a>. Under each caption: '
        "log P of the sentence in nats, P a word (the geometric mean), CIDEr-D and BLEU-4 of this "
        f"photo alone. The probability of each word: {marks}.</p>"
    )


def _winner_control(report: Report) -> str:
    if not report.comparison:
        return ""
    return (
        '<label>Better by CIDEr-D <select id="winner"><option value="">all</option>'
        '<option value="A">A</option><option value="B">B</option>'
        '<option value="equal">equal</option></select></label>'
    )


def _photo(image: ShownImage, place: int) -> str:
    ahead = _ahead(image)
    winner = ("A" if ahead > 0 else "B" if ahead < 0 else "equal") if image.captions[1:] else ""
    data = {"place": f"{place}", "ahead": f"{ahead:.6f}", "winner": winner}
    for number, found in enumerate(image.captions):
        data[f"cider{number}"] = f"{found[0].cider:.6f}"
        data[f"sure{number}"] = f"{_surety(found[0].caption):.6f}"
    attributes = " ".join(f'data-{name}="{value}"' for name, value in data.items())
    runs = "".join(_captions_of(image, number, winner) for number in range(len(image.captions)))
    references = "".join(f"<li>{_text(text)}</li>" for text in image.references)
    return (
        f"<li {attributes}><article><div>{_picture(image)}</div><div>"
        f'<h3>{_text(image.name)}</h3><div class="runs">{runs}</div>'
        f'<h4>References</h4><ul class="references">{references}</ul></div></article></li>'
    )


def _picture(image: ShownImage) -> str:
    if image.thumbnail is None:
        return f'<div class="missing">No picture: {_text(image.problem)}</div>'
    data = base64.b64encode(image.thumbnail.jpeg).decode()
    return (
        f'<img alt="{_text(image.references[0])}" width="{image.thumbnail.width}" '
        f'height="{image.thumbnail.height}" src="data:image/jpeg;base64,{data}">'
    )


def _captions_of(image: ShownImage, run: int, winner: str) -> str:
    head = ""
    if winner:
        better = " (better)" if winner == LETTERS[run] else ""
        head = f'<h4 class="run{run}">{LETTERS[run]}{better}</h4>'
    items = "".join(map(_caption, image.captions[run]))
    ranks = image.ranks[run]
    found = ""
    if ranks:
        photos = ", ".join(f"{rank:,}" for rank in ranks.photos)
        found = (
            f'<p class="scores">Retrieval: its first sentence has rank {ranks.sentence:,}; '
            f"for its sentences it has rank {photos}</p>"
        )
    return f'<div>{head}<ol class="captions">{items}</ol>{found}</div>'


def _caption(scored: ScoredCaption) -> str:
    caption = scored.caption
    return (
        f'<li><span class="text">{"".join(_words(caption))}</span> <span class="scores">'
        f"log P {caption.log_probability:.2f}, P a word {math.exp(_surety(caption)):.2f}, "
        f"CIDEr-D {scored.cider:.2f}, BLEU-4 {scored.bleu_4:.2f}</span></li>"
    )


def _words(caption: Caption) -> Iterator[str]:
    """The text, each word marked by its probability."""
    words, start = [word.word for word in caption.words], 0
    for place, word in enumerate(caption.words, start=1):
        end = len(join_words(words[:place]))
        piece = caption.text[start:end]
        bare = piece.lstrip(" ")
        probability = math.exp(word.log_probability)
        level = sum(probability < bound for bound in LEVELS)
        yield " " * (len(piece) - len(bare))
        yield f'<span class="p{level}" title="P = {probability:.3g}">{_text(bare)}</span>'
        start = end
