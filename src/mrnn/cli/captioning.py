"""Caption photos."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.consensus import ConsensusSource, consensus_source
from mrnn.cli.decoding_flags import Asked, decoding_options, takes_decoding_flags
from mrnn.cli.terminal import EncoderWeights, Json, ModelFolder, progress, tell
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.captioning.results import ImageCaptions

INSTALLED = Path(__file__).parents[1] / "examples"
CHECKOUT = Path(__file__).parents[3] / "examples"
"""Where the example photos are: in the wheel, and in the source that it is made from."""


@takes_decoding_flags
def caption(
    paths: Annotated[
        list[str], typer.Argument(metavar="PHOTO", help="Photos, folders of them, or globs")
    ],
    model: ModelFolder = None,
    consensus: ConsensusSource = None,
    weights: EncoderWeights = None,
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
    from mrnn.captioning.caption_writer import CaptionFile, Sidecars
    from mrnn.captioning.captioner import Captioner, image_name
    from mrnn.data.images import find_images
    from mrnn.model.checkpoint import DEFAULT_MODEL

    if overwrite and not sidecar:
        raise OptionsError("--overwrite replaces sidecars; give --sidecar too")
    if out and as_json:
        raise OptionsError("--json prints, and --out writes a file of its own form; give one")
    photos = list(find_images(paths))
    sidecars = Sidecars(photos, overwrite=overwrite) if sidecar else None
    if sidecars and not (out or as_json):
        photos = sidecars.left_to_do(photos)
    captioner = Captioner.load(model or DEFAULT_MODEL, consensus_source(consensus), weights=weights)
    for note in captioner.consensus.notes if captioner.consensus else ():
        tell(f"Note: {note}")
    options = decoding_options(captioner.checkpoint.decoding, asked)
    for name, why in captioner.left_out(options).items():
        if name in asked:
            tell(f"Note: {name}: {why}")
    file = CaptionFile(out, options.n_best) if out else None
    done = frozenset(file.done) if file else frozenset()
    if done:
        tell(f"{out}: {len(done):,} photos are done already")
        photos = _left_to_do(photos, done)
    failed, asked_for = 0, sum(image_name(photo) not in done for photo in photos)
    with progress("Captioning", len(photos)) as advance:
        for photo, result in zip(photos, captioner.stream(photos, options), strict=True):
            advance()
            if result.image in done:
                continue
            if result.error:
                failed += 1
                tell(result.error)
            elif sidecars:
                try:
                    sidecars.write(photo, result)
                except OSError as error:  # a read-only folder: the next may not be
                    tell(f"{photo}: the text file cannot be written ({error.strerror})")
            if file:
                file.write(result)
            elif as_json:
                print(result.model_dump_json(), flush=True)
            elif not (result.error or sidecar):
                print(_for_people(result), flush=True)
    if file and asked_for > failed:
        tell(f"Wrote {out}: {asked_for - failed:,} photos captioned")
    for line in sidecars.summary() if sidecars else ():
        tell(line)
    if failed:
        tell(f"{failed:,} of {asked_for:,} photos could not be captioned")
    if failed or (sidecars and sidecars.failed):
        raise typer.Exit(1)


def _left_to_do(photos: Sequence[Path], done: Collection[str]) -> list[Path]:
    """The batches with a photo that is not done, whole.

    The last digits of a photo's probabilities depend on its company, and a run that goes on is to
    write what it would have written.
    """
    from mrnn.captioning.captioner import BATCH, image_name

    batches = (photos[start : start + BATCH] for start in range(0, len(photos), BATCH))
    return [p for batch in batches if {image_name(p) for p in batch} - {*done} for p in batch]


def demo() -> None:
    """Caption the example photos with the model that ships, to see what it can do."""
    from mrnn.captioning.captioner import Captioner
    from mrnn.data.images import find_images

    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    tell(f"The photos in {folder}. Your own: mrnn caption PHOTO...")
    for result in Captioner.load().stream(find_images([folder])):
        print(_for_people(result.model_copy(update={"image": Path(result.image).name})))


def _for_people(result: "ImageCaptions") -> str:
    from mrnn.model.familiarity import UNFAMILIAR

    if len(result.captions) == 1:
        text = f"{result.image}: {result.captions[0].text}"
    else:
        lines = [
            f"  {rank:>2}  {c.log_probability:7.2f}  {c.text}"
            for rank, c in enumerate(result.captions, 1)
        ]
        text = "\n".join([f"{result.image}:", *lines])
    if result.familiarity is not None and result.familiarity < UNFAMILIAR:
        text += (
            "\n  (a guess: this is unlike the photos that the model learned from; "
            f"familiarity {result.familiarity:.2f})"
        )
    return text
