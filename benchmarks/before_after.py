"""Captions of the same photos by two models, side by side, as one page of HTML.

Run: python benchmarks/before_after.py DATA[:SPLIT] ... --before RUN --after RUN --out PAGE.html
RUN is a model's folder, or the name of one that ships. Features of a dataset are used where they
are extracted; else each model's own encoder reads the photos. Figures are of all photos of the
splits; a sample of them is shown. The page holds small copies of these photos.
"""

import argparse
import base64
import io
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrnn.captioning.captioner import Captioner
from mrnn.cli.terminal import progress, tell
from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.features import load_features
from mrnn.data.images import load_image
from mrnn.errors import DataError, ImageError, MRNNError
from mrnn.evaluation.captions import MEASURES, RESAMPLES, decimals_of, measure
from mrnn.evaluation.comparison import Difference, better_of, differences_of
from mrnn.evaluation.evaluate import generate, references_of
from mrnn.evaluation.report.figures import escaped
from mrnn.metrics.inventions import invented_things
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.outputs import check_output, write_whole
from mrnn.tokenizer import join_words

SHOWN = ("bleu_4", "rouge_l", "cider", "invented", "invented_person_or_dog", "things_recall")
SIDE = 320
"""Longest side of a photo in the page, in pixels."""
VERDICTS = {"A": "after", "B": "before", None: "neither"}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Before and after</title>
<style>
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5c5c63; --line: #d4d4da; --back: #fff;
  --card: #f6f6f8; --good: #1b6e34; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --soft: #a7a7b2; --line: #44444d;
  --back: #17171b; --card: #212127; --good: #7fd497; --bad: #ff9a90 } }
* { box-sizing: border-box }
body { font: 16px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--back);
  margin: 0 auto; padding: 1rem; max-width: 70rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.2 } h2 { font-size: 1.1rem; margin-top: 2rem }
h3 { font-size: .8rem; margin: 0; color: var(--soft) } p { margin: .3rem 0 }
.soft, summary { color: var(--soft); font-size: .85rem } summary { padding: .4rem 0 }
.good { color: var(--good) } .bad { color: var(--bad); font-weight: 600 }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap } th:first-child { text-align: left }
.photos { list-style: none; padding: 0; display: grid; gap: 1rem }
.photos > li { display: grid; grid-template-columns: 20rem 1fr; gap: 1rem; padding: 1rem;
  background: var(--card); border-radius: 6px } .photos > li > * { min-width: 0 }
img { max-width: 100%; height: auto; display: block; border-radius: 4px }
.models { display: grid; gap: .8rem 1.5rem; margin: .3rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)) }
ul.references { margin: 0; padding-left: 1.3rem }
@media (max-width: 44rem) { .photos > li { grid-template-columns: 1fr } }
@media print { .photos > li { break-inside: avoid } }
</style>
</head>
<body>
"""


@dataclass(frozen=True)
class Source:
    """A split that both models captioned."""

    name: str
    images: Sequence[CaptionedImage]
    captions: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]
    """The words of each image by the model before and the one after."""
    ciders: tuple[Sequence[float], Sequence[float]]
    differences: dict[str, Difference]
    """The model after is a."""


def model_folder(name: str) -> Path:
    """The folder of a model, given that or the name of a model that ships."""
    shipped = DEFAULT_MODEL.parent / name
    return shipped if not Path(name).exists() and shipped.is_dir() else Path(name)


def captions_of(
    model: Path, encoder: Path | None, dataset: Dataset, images: Sequence[CaptionedImage]
) -> list[list[str] | None]:
    """The words of each image's best caption; None for a photo that cannot be read."""
    captioner = Captioner.for_features(model)
    config = captioner.checkpoint.config
    with progress(f"Captioning by {model.name}", len(images)) as advance:
        try:
            features = load_features(dataset, captioner.checkpoint.encoder).of(images)
        except DataError:
            reader = Captioner.load(model, encoder_file=encoder)
        else:
            words = generate(captioner, features, config.decoding, config.reranking, advance)
            return list(words)
        found: list[list[str] | None] = []
        for result in reader.stream([image.path for image in images]):
            if result.error:
                tell(f"Left out: {result.error}")
            found.append([w.word for w in result.captions[0].words] if result.captions else None)
            advance()
        return found


def measured(given: str, arguments: argparse.Namespace) -> Source:
    """Both models on one split; photos that either cannot read are left out."""
    name, _, split = given.rpartition(":") if ":" in given else (given, "", "dev")
    dataset = Dataset.load(Path(name))
    images = dataset.split(split)
    before, after = (
        captions_of(model_folder(model), encoder, dataset, images)
        for model, encoder in (
            (arguments.before, arguments.before_encoder),
            (arguments.after, arguments.after_encoder),
        )
    )
    kept = [
        (image, old, new)
        for image, old, new in zip(images, before, after, strict=True)
        if old is not None and new is not None
    ]
    if not kept:
        raise DataError(f"{name}: no photo of {split} can be read")
    images, olds, news = zip(*kept, strict=True)
    (old, new), _ = measure([olds, news], references_of(images), with_meteor=False)
    return Source(
        f"{split} of {Path(name).name}", images, (olds, news),
        (old.cider.tolist(), new.cider.tolist()), differences_of(new, old, RESAMPLES, 0),
    )  # fmt: skip


def figures(source: Source) -> str:
    """The table of a split."""
    rows = []
    for key in SHOWN:
        found, digits = source.differences[key], decimals_of(key)
        low, high = found.interval
        rows.append(
            f'<tr><th scope="row">{MEASURES[key]}</th><td>{found.b:.{digits}f}</td>'
            f"<td>{found.a:.{digits}f}</td><td>{found.difference:+.{digits}f}</td>"
            f"<td>{low:+.{digits}f} to {high:+.{digits}f}</td>"
            f"<td>{VERDICTS[better_of(key, found)]}</td></tr>"
        )
    captions = sum(len(image.captions) for image in source.images)
    return (
        f"<h2>{escaped(source.name)}: {len(source.images):,} photos, {captions:,} references</h2>"
        '<div class="scroll" role="region" aria-label="Figures" tabindex="0"><table>'
        "<thead><tr><th></th><th>before</th><th>after</th><th>difference</th>"
        "<th>95 % interval</th><th>better</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def picture(image: CaptionedImage) -> str:
    """A small copy of a photo, in the page itself."""
    try:
        photo = load_image(image.path, least_side=SIDE)
    except ImageError as error:
        return f'<p class="soft">No picture: {escaped(str(error))}</p>'
    photo.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=75)
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<img alt="{escaped(image.captions[0])}" width="{photo.width}" height="{photo.height}" '
        f'src="data:image/jpeg;base64,{data}">'
    )


def item(source: Source, place: int) -> str:
    """A photo with both captions."""
    image = source.images[place]
    models = []
    for title, captions, ciders in zip(
        ("Before", "After"), source.captions, source.ciders, strict=True
    ):
        invented = ", ".join(invented_things(captions[place], image.words))
        mark, verdict = ("bad", f"invents: {invented}") if invented else ("good", "invents nothing")
        models.append(
            f"<div><h3>{title}</h3><p>{escaped(join_words(captions[place]))}</p>"
            f'<p class="soft">CIDEr-D {ciders[place]:.2f}; '
            f'<span class="{mark}">{escaped(verdict)}</span></p></div>'
        )
    references = "".join(f"<li>{escaped(text)}</li>" for text in image.captions)
    return (
        f'<li><div>{picture(image)}</div><div><div class="models">{"".join(models)}</div>'
        f"<details><summary>{len(image.captions)} references; {escaped(image.name)}, "
        f'{escaped(source.name)}</summary><ul class="references">{references}</ul></details>'
        "</div></li>\n"
    )


def page(sources: Sequence[Source], arguments: argparse.Namespace) -> Iterator[str]:
    """The page, in pieces."""
    places = [(source, place) for source in sources for place in range(len(source.images))]
    count = min(arguments.photos, len(places))
    shown = sorted(random.Random(arguments.seed).sample(range(len(places)), count))
    yield PAGE
    yield (
        f"<header><h1>Before and after</h1><p>Before: <strong>{escaped(arguments.before)}</strong>"
        f"<br>After: <strong>{escaped(arguments.after)}</strong></p></header><main>\n"
    )
    for source in sources:
        yield figures(source)
    yield (
        '<p class="soft">Lower is better for what captions invent: things that no reference '
        "names. CIDEr-D has the document frequencies of the split's references.</p>"
        f"<h2>{count:,} of {len(places):,} photos, sampled with seed {arguments.seed}</h2>"
        '<ol class="photos">\n'
    )
    for number in shown:
        yield item(*places[number])
    yield "</ol></main></body></html>\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="a dataset folder, with :SPLIT if that is not dev")
    parser.add_argument("--before", required=True, help="a model's folder, or one that ships")
    parser.add_argument("--after", required=True, help="the same")
    parser.add_argument("--before-encoder", type=Path, help="its encoder, if that does not ship")
    parser.add_argument("--after-encoder", type=Path, help="the same")
    parser.add_argument("--photos", type=int, default=40, help="how many to show")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    arguments = parser.parse_args()
    try:
        check_output("--out", arguments.out, overwrite=True)
        sources = [measured(given, arguments) for given in arguments.data]
        write_whole(arguments.out, "".join(page(sources, arguments)))
    except MRNNError as error:
        sys.exit(str(error))
    print(f"Wrote {arguments.out}")


if __name__ == "__main__":
    main()
