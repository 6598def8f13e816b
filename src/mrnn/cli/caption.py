"""Caption photos."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.captioning.options import Asked, flag_of, options_of
from mrnn.cli.bulk import ModelFlags, ShardFlags, are_shards, caption_shards, takes_shard_flags
from mrnn.cli.decoding_flags import takes_decoding_flags
from mrnn.cli.photo_arguments import Exclude, Photos, found_photos
from mrnn.cli.terminal import (
    ConsensusSource,
    EncoderFile,
    Json,
    ModelFolder,
    consensus_source,
    progress,
    tell,
)
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.captioning.results import ImageCaptions


class Sort(StrEnum):
    """What `mrnn caption` can sort photos by."""

    confidence = "confidence"


@takes_decoding_flags
@takes_shard_flags()
def caption(
    paths: Photos,
    model: ModelFolder = None,
    consensus: ConsensusSource = None,
    encoder_file: EncoderFile = None,
    as_json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .jsonl or .csv file, of shards a folder; what is already in it is skipped"
        ),
    ] = None,
    sidecar: Annotated[bool, typer.Option(help="Write PHOTO.txt beside each photo")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace sidecars that exist")] = False,
    tags: Annotated[
        bool, typer.Option("--tags", help="Print tags below captions, and write them to PHOTO.txt")
    ] = False,
    sort: Annotated[
        Sort | None,
        typer.Option(help="Print after all photos are done, the lowest confidence first"),
    ] = None,
    exclude: Exclude = None,
    *,
    asked: Asked,
    shards: ShardFlags,
) -> None:
    """Caption photos; unreadable ones are reported, and the rest are still captioned.

    In their place may stand shards: tar or Parquet files, lists of photos, globs and URLs of them.
    A caption that is right less than once in three times is told to be a guess.
    """
    from mrnn.captioning.caption_writer import CaptionFile, Sidecars
    from mrnn.captioning.captioner import Captioner, image_name
    from mrnn.model.checkpoint import DEFAULT_MODEL

    if are_shards(paths, out, shards):
        for_photos = {"--json": as_json, "--sidecar": sidecar, "--tags": tags, "--sort": sort}
        flags = ModelFlags(model, consensus, encoder_file)
        caption_shards(paths, out, shards, asked, flags, for_photos | {"--exclude": exclude})
        return
    if overwrite and not sidecar:
        raise OptionsError("--overwrite replaces sidecars; give --sidecar too")
    if out and as_json:
        raise OptionsError("--json prints, and --out writes a file of its own form; give one")
    if sort and (out or (sidecar and not as_json)):
        raise OptionsError("--sort orders what is printed; leave out --out and --sidecar")
    photos, problems = found_photos(paths, exclude)
    sidecars = Sidecars(photos, overwrite=overwrite, tags=tags) if sidecar else None
    if sidecars and not (out or as_json):
        photos = sidecars.left_to_do(photos)
    captioner = Captioner.load(
        model or DEFAULT_MODEL, consensus_source(consensus), encoder_file=encoder_file
    )
    if sort and not captioner.has_confidence:
        raise OptionsError(
            "--sort confidence: this model has none; train it and its heads with photos held out "
            "(training.held_out)"
        )
    if tags and captioner.checkpoint.tagger is None:
        tell("Note: --tags: ignored, as the encoder of this model has no known classes")
    for note in captioner.consensus.notes if captioner.consensus else ():
        tell(f"Note: {note}")
    decoding, reranking = options_of(captioner.checkpoint.config, asked)
    for name, why in captioner.ignored(decoding, reranking).items():
        if name in asked:
            tell(f"Note: {flag_of(name)}: {why}")
    file = CaptionFile(out, decoding.n_best) if out else None
    done = frozenset(file.done) if file else frozenset()
    if done:
        tell(f"{out}: {len(done):,} photos are done already")
        photos = [photo for photo in photos if image_name(photo) not in done]
    failed, asked_for = 0, len(photos)
    unsorted: list[ImageCaptions] = []
    results = captioner.stream(photos, decoding, reranking)
    with progress("Captioning", len(photos)) as advance:
        for photo, result in zip(photos, results, strict=True):
            advance()
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
            elif sort:
                unsorted.append(result)
            else:
                _show(result, as_json=as_json, sidecar=sidecar, tags=tags)
    for result in sorted(unsorted, key=_confidence):
        _show(result, as_json=as_json, sidecar=sidecar, tags=tags)
    if file and asked_for > failed:
        tell(f"Wrote {out}: {asked_for - failed:,} photos captioned")
    for line in sidecars.summary() if sidecars else ():
        tell(line)
    if failed:
        tell(f"{failed:,} of {asked_for:,} photos could not be captioned")
    if problems:
        tell(f"{problems:,} of the folders and globs had no photos or could not be searched")
    if failed or problems or (sidecars and sidecars.failed):
        raise typer.Exit(1)


def _show(result: "ImageCaptions", *, as_json: bool, sidecar: bool, tags: bool) -> None:
    """On stdout: JSON of every photo; text of those that have captions and no text file."""
    if as_json:
        print(result.model_dump_json(), flush=True)
    elif not (result.error or sidecar):
        print(caption_text(result, tags=tags), flush=True)


def _confidence(result: "ImageCaptions") -> float:
    """For sorting: photos without a caption come last."""
    return 2.0 if result.confidence is None else result.confidence


def caption_text(result: "ImageCaptions", *, tags: bool = False, confidence: bool = False) -> str:
    """The captions of a photo, for people to read; perhaps its tags, and a high confidence too."""
    from mrnn.model.confidence import GUESS
    from mrnn.model.familiarity import UNFAMILIAR

    if len(result.captions) == 1:
        text = f"{result.image}: {result.captions[0].text}"
    else:
        lines = [
            f"  {rank:>2}  {c.log_probability:7.2f}  {c.text}"
            for rank, c in enumerate(result.captions, 1)
        ]
        text = "\n".join([f"{result.image}:", *lines])
    if tags and result.tags:
        text += f"\n  (tags: {', '.join(map(str, result.tags))})"
    doubts = []
    unfamiliar = result.familiarity is not None and result.familiarity < UNFAMILIAR
    if unfamiliar if result.confidence is None else result.confidence < GUESS:
        if unfamiliar:
            doubts.append(
                "this is unlike the photos that the model learned from; "
                f"familiarity {result.familiarity:.2f}"
            )
        if result.confidence is not None:
            doubts.append(f"confidence {result.confidence:.2f}")
    if doubts:
        return f"{text}\n  (a guess: {', '.join(doubts)})"
    if confidence and result.confidence is not None:
        return f"{text}\n  (confidence {result.confidence:.2f})"
    return text
