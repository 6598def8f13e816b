"""Caption photos."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.captioning.options import Asked
from mrnn.cli.bulk import ModelFlags, ShardFlags, are_shards, caption_shards, takes_shard_flags
from mrnn.cli.caption_outputs import OutputOptions, Outputs, show, takes_output_flags
from mrnn.cli.decoding_flags import takes_decoding_flags, told_options
from mrnn.cli.photo_arguments import Exclude, Photos, found_photos
from mrnn.cli.terminal import (
    ConsensusSource,
    EncoderFile,
    ModelDevice,
    ModelFolder,
    RunDevice,
    consensus_source,
    found_device,
    progress,
    tell,
)
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.captioning.captioner import Captioner
    from mrnn.captioning.results import ImageCaptions
    from mrnn.model.config import DecodingOptions, RerankingOptions


class Sort(StrEnum):
    """What `mrnn caption` can sort photos by."""

    confidence = "confidence"


@takes_decoding_flags
@takes_shard_flags()
@takes_output_flags
def caption(
    paths: Photos,
    exclude: Exclude = None,
    model: ModelFolder = None,
    consensus: ConsensusSource = None,
    encoder_file: EncoderFile = None,
    device: ModelDevice = RunDevice.cpu,
    sort: Annotated[
        Sort | None,
        typer.Option(help="Print after all photos are done, the lowest confidence first"),
    ] = None,
    *,
    options: OutputOptions,
    asked: Asked,
    shards: ShardFlags,
) -> None:
    """Caption photos; unreadable ones are reported, and the rest are still captioned.

    In their place may stand shards: tar or Parquet files, lists of photos, globs and URLs of them.
    A caption that is right less than once in three times is told to be a guess.

    All processors work; with OMP_NUM_THREADS=1 before the command, one does.
    """
    if are_shards(paths, options.out, shards):
        flags = ModelFlags(model, consensus, encoder_file, device)
        for_photos = options.for_photos() | {"--sort": sort, "--exclude": exclude}
        caption_shards(paths, options.out, shards, asked, flags, for_photos)
        return
    if sort and (options.out or not options.prints):
        raise OptionsError("--sort orders what is printed; leave out --out, --sidecar and --xmp")
    photos, problems = found_photos(paths, exclude)
    unsorted: list[ImageCaptions] = []
    outputs = Outputs(options, unsorted.append if sort else lambda each: show(each, options))
    with outputs.alone(photos):
        captioner, decoding, reranking = ready_captioner(
            model, consensus, encoder_file, asked, options, device
        )
        if sort and not captioner.has_confidence:
            raise OptionsError(
                "--sort confidence: this model has none; train it and its heads with photos held "
                "out (training.held_out)"
            )
        outputs.open(decoding.n_best, photos)
        photos = outputs.left_to_do(photos)
        with progress("Captioning", len(photos)) as advance:
            results = captioner.stream(photos, decoding, reranking, advance)
            for photo, result in zip(photos, results, strict=True):
                outputs.take(photo, result)
    for result in sorted(unsorted, key=_confidence):
        show(result, options)
    well = outputs.summarize()
    if problems:
        tell(f"{problems:,} of the folders and globs had no photos or could not be searched")
    if problems or not well:
        raise typer.Exit(1)


def ready_captioner(
    model: Path | None,
    consensus: str | None,
    encoder_file: Path | None,
    asked: Asked,
    options: OutputOptions,
    device: RunDevice = RunDevice.cpu,
) -> "tuple[Captioner, DecodingOptions, RerankingOptions]":
    """A captioner and its options; what they ignore is told. Raises MRNNError."""
    from mrnn.captioning.captioner import Captioner
    from mrnn.model.checkpoint import DEFAULT_MODEL

    captioner = Captioner.load(
        model or DEFAULT_MODEL, consensus_source(consensus),
        encoder_file=encoder_file, device=found_device(device),
    )  # fmt: skip
    if options.tags and captioner.checkpoint.tagger is None:
        tell("Note: --tags: ignored, as the encoder of this model has no known classes")
    decoding, reranking = told_options(captioner, asked)
    return captioner, decoding, reranking


def _confidence(result: "ImageCaptions") -> float:
    """For sorting: photos without a caption come last."""
    return 2.0 if result.confidence is None else result.confidence
