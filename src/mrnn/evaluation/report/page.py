"""A report as one page of HTML that needs no server and loads nothing from elsewhere.

All that comes from data is escaped, and the page allows no script but its own.
"""

import base64
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from mrnn.captioning.results import Caption
from mrnn.evaluation.evaluate import describe_decoding
from mrnn.evaluation.report.charts import Line, chart, histogram
from mrnn.evaluation.report.figures import LETTERS, figures_table, label
from mrnn.evaluation.report.report import Report, ScoredCaption, ShownImage
from mrnn.pages import breakable, escaped, page
from mrnn.tokenizer import join_words

FILE = Path(__file__)
LEVELS = (0.5, 0.2, 0.05, 0.01)
"""A word less likely than the first is marked, and more strongly below each that follows."""


def report_page(report: Report) -> str:
    """The page. It works without scripts too, then in one order."""
    template, style, script = (
        FILE.with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".html", ".css", ".js")
    )
    orders = _orders(report)
    content = Template(template).substitute(
        summary=_summary(report),
        figures=figures_table(report),
        charts="\n".join(_charts(report)),
        legend=_legend(orders[0][1]),
        orders="\n".join(f'<option value="{key}">{name}</option>' for key, name in orders),
        winners=_winner_control(report),
        photos="\n".join(_photo(image, place) for place, image in _in_order(report)),
    )
    title = f"Captions of {report.split}, {Path(report.data).name}"
    return page(title, content, style=style, script=script)


def _summary(report: Report) -> str:
    settings = report.runs[0].figures.settings
    runs = "".join(
        f"<li>{label(report, number)} <strong>{escaped(run.name)}</strong>: recipe "
        f"{escaped(str(run.figures.settings['recipe']))}; image features: "
        f"{escaped(str(run.figures.settings['encoder']))}; captions: "
        f"{escaped(describe_decoding(run.figures.settings))}</li>"
        for number, run in enumerate(report.runs)
    )
    shown = f"{len(report.images):,} photos are shown, evenly spaced"
    if len(report.images) == settings["images"]:
        shown = "all are shown"
    return (
        f"<p>Data: {breakable(report.data)}, split {escaped(report.split)}: {settings['images']:,} "
        f"photos, {settings['references']:,} captions. Figures and the chart of CIDEr-D are of "
        f"all of them; {shown}.</p><ul>{runs}</ul>"
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
                f'<p class="soft">{label(report, number)} {escaped(run.name)} holds no '
                "metrics.jsonl, so its training curve is not shown.</p>"
            )
    ciders = [run.figures.ciders for run in report.runs]
    yield _histograms(report, ciders, "CIDEr-D of the first caption", "CIDEr-D of a photo")
    sure = [
        [_surety(image.captions[number][0].caption) for image in report.images]
        for number in range(len(report.runs))
    ]
    title = "How likely the model finds its first captions"
    yield _histograms(report, sure, title, "log P a word, in nats, <eos> counted")


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
    """Nats a word, `<eos>` counted."""
    return caption.log_probability / (len(caption.words) + 1)


def _ahead(image: ShownImage) -> float:
    """By how much A is better; by how much it is good, if it is the only one."""
    ciders = [found[0].cider for found in image.captions]
    return ciders[0] - ciders[1] if len(ciders) > 1 else ciders[0]


def _orders(report: Report) -> list[tuple[str, str]]:
    """Orders of the photos, the first as they come in the page: key and direction, and a name."""
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
        f'<p>Order: {escaped(order)}; <a href="#end">to the other end</a>. Under each caption: '
        "log P of the sentence in nats, P a word (the geometric mean), CIDEr-D and BLEU-4 of this "
        "photo alone, and the things that it names and no reference does. The probability of each "
        f"word: {marks}.</p>"
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
    references = "".join(f"<li>{escaped(text)}</li>" for text in image.references)
    return (
        f"<li {attributes}><article><div>{_picture(image)}</div><div>"
        f'<h3>{breakable(image.name)}</h3><div class="runs">{runs}</div>'
        f'<h4>References</h4><ul class="references">{references}</ul></div></article></li>'
    )


def _picture(image: ShownImage) -> str:
    if image.thumbnail is None:
        return f'<div class="missing">No picture: {escaped(image.problem)}</div>'
    data = base64.b64encode(image.thumbnail.jpeg).decode()
    return (
        f'<img alt="{escaped(image.references[0])}" width="{image.thumbnail.width}" '
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
    invented = f", invented: {', '.join(scored.invented)}" if scored.invented else ""
    return (
        f'<li><span class="text">{"".join(_words(caption))}</span> <span class="scores">'
        f"log P {caption.log_probability:.2f}, P a word {math.exp(_surety(caption)):.2f}, "
        f"CIDEr-D {scored.cider:.2f}, BLEU-4 {scored.bleu_4:.2f}{escaped(invented)}</span></li>"
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
        yield f'<span class="p{level}" title="P = {probability:.3g}">{escaped(bare)}</span>'
        start = end
