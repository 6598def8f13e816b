"""The command line: parse, one call, print. Results go to stdout, all else to stderr.

Exit 0: done. 1: a user's error, or some inputs failed while the others were done. 2: usage.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from mrnn.decoding_flags import Asked, BeamSize, decoding_options, takes_decoding_flags
from mrnn.errors import MRNNError, OptionsError

if TYPE_CHECKING:
    from mrnn.captioner import ImageCaptions
    from mrnn.dataset import CaptionedImage
    from mrnn.training import EpochDone, Event

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Captions for photos by the multimodal recurrent network (m-RNN).",
)

DEMO_PHOTOS = ("astronaut.png", "camera.png", "motorcycle_left.png", "chelsea.png", "page.png")

ModelFolder = Annotated[
    Path | None, typer.Option("--model", help="A trained model's folder [default: the shipped one]")
]
DataFolder = Annotated[Path, typer.Argument(help="A dataset folder made by `mrnn prepare`")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text")]

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of the signal."""


class Source(StrEnum):
    """What `mrnn prepare` can read."""

    flickr = "flickr"
    karpathy = "karpathy"
    coco = "coco"
    iapr = "iapr"
    table = "table"
    folder = "folder"


class Sentences(Enum):
    """What becomes of an image described in several sentences."""

    split = "split"
    joined = "joined"


class Task(StrEnum):
    """What `mrnn evaluate` can measure."""

    perplexity = "perplexity"
    generation = "generation"
    all = "all"


@app.command()
def prepare(
    kind: Annotated[Source, typer.Argument(help="Format of the source")],
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE",
            help="The file; for flickr, iapr and folder: the folder; for coco: one file or several",
        ),
    ],
    images: Annotated[Path, typer.Option(help="Folder of the image files")],
    out: Annotated[Path, typer.Option(help="The dataset folder to write")],
    split_list: Annotated[
        list[str] | None,
        typer.Option(metavar="SPLIT=FILE", help="A split's images, one a line: dev=dev.txt"),
    ] = None,
    shares: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            metavar="TRAIN DEV TEST",
            help="Split at random [default, if the source has no splits: 0.8 0.1 0.1]",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random split [default: 0]")] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An image to leave out")
    ] = None,
    sentences: Annotated[
        Sentences | None,
        typer.Option(help="iapr: each sentence a caption, or all one [default: split]"),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="table: column of the image files [default: image]")
    ] = None,
    caption_column: Annotated[
        str | None, typer.Option(help="table: column of the captions [default: caption]")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="table: column of the splits [default: split, if there]")
    ] = None,
) -> None:
    """Make a dataset folder from a source; the images stay where they are."""
    from mrnn.dataset import Dataset, write_dataset
    from mrnn.splits import divide

    options = {
        "sentences": sentences and sentences.value,
        "image_column": image_column,
        "caption_column": caption_column,
        "split_column": split_column,
    }
    given = {name: value for name, value in options.items() if value is not None}
    every = _read_source(kind, sources, images, given)
    divided, notes = divide(
        every, lists=split_list or (), shares=shares, seed=seed, leave_out=leave_out or ()
    )
    write_dataset(divided, out, source=kind.value, images_root=images)
    for note in notes:
        _tell(note)
    dataset = Dataset.load(out)
    for split in dataset.splits:
        found = dataset.split(split)
        captions = sum(len(image.captions) for image in found)
        print(f"{split}: {len(found):,} images, {captions:,} captions")
    _tell(f"Wrote {out}. Next: mrnn check {out}")


@app.command()
def check(data: DataFolder) -> None:
    """Look for what would make training wrong: broken images, leaks, odd captions."""
    from mrnn.dataset import Dataset, check_dataset

    dataset = Dataset.load(data)
    with _progress("Checking", len(dataset.images)) as advance:
        report = check_dataset(dataset, on_image=advance)
    for line in report.lines():
        print(line)
    if report.errors:
        raise typer.Exit(1)


@app.command()
def extract(
    data: DataFolder,
    encoder: Annotated[
        str | None, typer.Option(help="Name of the image encoder [default: efficientnet-lite2]")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(help="How a photo becomes a square: crop, squash or pad [default: squash]"),
    ] = None,
) -> None:
    """Compute the image features of a dataset; goes on where it was interrupted."""
    from mrnn.dataset import Dataset
    from mrnn.encoders import DEFAULT_ENCODER, DEFAULT_FIT, load_encoder
    from mrnn.features import extract_features

    dataset = Dataset.load(data)
    loaded = load_encoder(encoder or DEFAULT_ENCODER, fit or DEFAULT_FIT)
    with _progress("Extracting", len(dataset.images)) as advance:
        file = extract_features(dataset, loaded, advance)
    print(f"{file}: {len(dataset.images):,} features of {loaded.identity}")


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of one that ships")],
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    out: Annotated[Path, typer.Option(help="The folder of the trained model")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe: --set training.epochs=3"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run")] = False,
) -> None:
    """Train a model by a recipe; the best epoch on dev is kept."""
    from mrnn.dataset import Dataset
    from mrnn.recipe import load_recipe
    from mrnn.training import train as train_model

    loaded = load_recipe(recipe, settings or ())
    _show_training(train_model(loaded, Dataset.load(data), out, resume=resume))


@app.command()
@takes_decoding_flags
def caption(
    paths: Annotated[
        list[str], typer.Argument(metavar="PHOTO", help="Photos, folders of them, or globs")
    ],
    model: ModelFolder = None,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="A .jsonl or .csv file; photos already in it are skipped")
    ] = None,
    sidecar: Annotated[bool, typer.Option(help="Write PHOTO.txt beside each photo")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace sidecars that exist")] = False,
    *,
    asked: Asked,
) -> None:
    """Caption photos; one that cannot be read does not stop the others."""
    from mrnn.caption_files import CaptionFile, write_sidecar
    from mrnn.captioner import Captioner, image_name
    from mrnn.checkpoint import DEFAULT_MODEL
    from mrnn.images import find_images

    photos = list(find_images(paths))
    file = CaptionFile(out) if out else None
    if file and file.done:
        _tell(f"{out}: {len(file.done):,} photos are done already")
        photos = [photo for photo in photos if image_name(photo) not in file.done]
    captioner = Captioner.load(model or DEFAULT_MODEL)
    options = decoding_options(captioner.checkpoint.decoding, asked)
    failed, kept = 0, 0
    with _progress("Captioning", len(photos)) as advance:
        for photo, result in zip(photos, captioner.stream(photos, options), strict=True):
            if result.error:
                failed += 1
                _tell(result.error)
            elif sidecar:
                try:
                    kept += not write_sidecar(photo, result, overwrite=overwrite)
                except OSError as error:  # a read-only folder: the next may not be
                    failed += 1
                    _tell(f"{photo}: the sidecar cannot be written ({error.strerror})")
            if file:
                file.write(result)
            elif as_json:
                print(result.model_dump_json(), flush=True)
            elif not (result.error or sidecar):
                print(_for_people(result), flush=True)
            advance()
    if kept:
        _tell(f"{kept:,} .txt files were there already and stay; --overwrite replaces them")
    if failed:
        _tell(f"{failed:,} of {len(photos):,} photos could not be captioned")
        raise typer.Exit(1)


@app.command()
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A model [default: the shipped one]")] = None,
    *,
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    split: Annotated[str, typer.Option(help="Which split to measure on")] = "test",
    task: Annotated[Task, typer.Option(help="What to measure")] = Task.all,
    beam_size: BeamSize = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images")] = None,
    as_json: Json = False,
) -> None:
    """Measure a model: perplexity, BLEU, CIDEr."""
    from mrnn.captioner import Captioner
    from mrnn.checkpoint import DEFAULT_MODEL
    from mrnn.dataset import Dataset
    from mrnn.evaluation import evaluate as evaluate_model
    from mrnn.features import load_features

    dataset = Dataset.load(data)
    captioner = Captioner.load(run or DEFAULT_MODEL)
    images = dataset.split(split)[:limit]
    features = load_features(dataset, captioner.checkpoint.encoder).of(images)
    tasks = [Task.perplexity, Task.generation] if task is Task.all else [task]
    asked = {"n_best": 1} | ({"beam_size": beam_size} if beam_size is not None else {})
    options = decoding_options(captioner.checkpoint.decoding, asked)
    with _progress("Captioning", len(images)) as advance:
        report = evaluate_model(
            captioner, images, features, tasks=tasks, options=options, on_image=advance
        )
    if as_json:
        print(report.model_dump_json())
        return
    print(f"{split} of {data}: {json.dumps(report.settings)}")
    if report.perplexity is not None:
        print(f"perplexity  {report.perplexity:.2f}")
    for name, value in report.generation.model_dump().items() if report.generation else ():
        print(f"{name:<11} {value:.3f}")


@app.command()
def demo(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Your photos [default: a few that are installed]")
    ] = None,
) -> None:
    """Caption photos with the model that ships, to see what it can do."""
    if paths:
        caption(paths)
        return
    try:
        from skimage import data_dir  # type: ignore[attr-defined]
    except ImportError:
        raise OptionsError("The demo's photos need: pip install 'mrnn[demo]'") from None
    from mrnn.captioner import Captioner

    _tell(f"Photos that come with scikit-image, in {data_dir}. The last two are not of the kind")
    _tell("that the model learned from, and it says so. Your own: mrnn caption PHOTO...")
    for result in Captioner.load().stream([Path(data_dir) / name for name in DEMO_PHOTOS]):
        print(_for_people(result.model_copy(update={"image": Path(result.image).name})))


def main() -> None:
    """The `mrnn` command."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _tell("mrnn: interrupted; what was finished is kept")
        raise
    except MRNNError as error:
        _tell(f"mrnn: {error}")
        sys.exit(1)
    except OSError as error:  # a full disk, a read-only folder
        try:
            sys.stdout.flush()
        except OSError:  # the exit would try again, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _tell(f"mrnn: {error.filename or 'output'}: {error.strerror or error}")
        sys.exit(1)


def _read_source(
    kind: Source, sources: list[Path], images: Path, options: dict[str, Any]
) -> Iterator["CaptionedImage"]:
    from mrnn.readers.coco import read_coco
    from mrnn.readers.flickr import read_flickr
    from mrnn.readers.folder import read_folder
    from mrnn.readers.iapr import read_iapr
    from mrnn.readers.karpathy import read_karpathy
    from mrnn.readers.table import read_table

    for name in options:
        taker = Source.iapr if name == "sentences" else Source.table
        if kind is not taker:
            option = name.replace("_", "-")
            raise OptionsError(f"prepare {kind} does not take --{option}; prepare {taker} does")
    if len(sources) > 1 and kind is not Source.coco:
        raise OptionsError(
            f"prepare {kind} takes one SOURCE, not {len(sources)}; coco takes several"
        )
    if not images.is_dir():
        raise OptionsError(f"{images}: no such folder of images; check --images")
    match kind:
        case Source.flickr:
            return read_flickr(sources[0], images)
        case Source.karpathy:
            return read_karpathy(sources[0], images)
        case Source.coco:
            return read_coco(sources, images)
        case Source.iapr:
            return read_iapr(sources[0], images, **options)
        case Source.table:
            return read_table(sources[0], images, **options)
        case Source.folder:
            return read_folder(sources[0], images)


def _for_people(result: "ImageCaptions") -> str:
    from mrnn.familiarity import UNFAMILIAR

    if len(result.captions) == 1:
        text = f"{result.image}: {result.captions[0].text}"
    else:
        lines = [f"  {c.log_probability:7.2f}  {c.text}" for c in result.captions]
        text = "\n".join([f"{result.image}:", *lines])
    if result.familiarity is not None and result.familiarity < UNFAMILIAR:
        text += (
            "\n  (a guess: this is unlike the photos that the model learned from; "
            f"familiarity {result.familiarity:.2f})"
        )
    return text


def _show_training(events: Iterable["Event"]) -> None:
    from mrnn.training import EpochDone, RunFinished, RunStarted, StepDone

    started = time.monotonic()
    words, task = 0, TaskID(0)
    with _bar(TextColumn("{task.fields[speed]}")) as bar:
        for event in events:
            match event:
                case RunStarted():
                    _tell(
                        f"{event.parameters:,} weights, {event.vocabulary_size:,} words, "
                        f"{event.precision}. Writing to {event.folder}; stop with Ctrl-C, "
                        "go on with --resume"
                    )
                    total = event.epochs * event.steps_per_epoch
                    done = event.done_epochs * event.steps_per_epoch
                    task = bar.add_task("Training", total=total, completed=done, speed="")
                    started = time.monotonic()
                case StepDone():
                    words += event.words
                    speed = words / (time.monotonic() - started)
                    text = f"{speed:,.0f} words/s, {event.bits:.2f} bits a word"
                    bar.update(task, advance=1, speed=text)
                case EpochDone():
                    print(_epoch_line(event), flush=True)
                    for warning in event.warnings:
                        _tell(f"Warning: {warning}")
                case RunFinished():
                    bar.stop()
                    print(
                        f"{event.folder}: the model of epoch {event.best_epoch}, "
                        f"dev perplexity {event.best_perplexity:.2f}"
                    )


def _epoch_line(epoch: "EpochDone") -> str:
    other = epoch.shuffled_perplexity
    shuffled = "" if other is None else f" (with other photos {other:.1f})"
    return (
        f"epoch {epoch.epoch:>2}  perplexity: train {epoch.train_perplexity:.2f}, "
        f"dev {epoch.dev_perplexity:.2f}{shuffled}  "
        f"greedy: BLEU-4 {epoch.bleu_4:.3f}, CIDEr {epoch.cider:.3f}, "
        f"{epoch.distinct:.0%} distinct  {epoch.words_per_second:,.0f} words/s"
        + ("  *" if epoch.best else "")
    )


def _bar(*columns: ProgressColumn) -> Progress:
    """Progress on stderr; none when that is not a terminal."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), *columns,
        console=Console(stderr=True), disable=not sys.stderr.isatty(),
    )  # fmt: skip


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A bar over `total` photos; gives what to call for each, or for a number of them."""
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        yield lambda count=1: bar.update(task, advance=count)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
