"""Fine-tune an image encoder on captions."""

import time
from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import Overwrite, needs_torch, progress, say, tell
from mrnn.outputs import check_output


def fine_tune(
    data: Annotated[Path, typer.Argument(help="A dataset folder")],
    encoder: Annotated[
        str, typer.Option(help="An EfficientNet-Lite, as efficientnet-lite0 or ...-lite2@320")
    ],
    out: Annotated[Path, typer.Option(help="The ONNX file to write; its name is the encoder's")],
    epochs: Annotated[int, typer.Option(min=1, help="Times that each photo is seen")] = 8,
    held_out: Annotated[
        int, typer.Option(min=0, help="Photos of train to leave out, as recipe flickr8k does")
    ] = 300,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune the last layers of an image encoder on the captions of a dataset."""
    needs_torch("Fine-tuning")
    from mrnn.data.dataset import Dataset
    from mrnn.data.splits import hold_out
    from mrnn.model.familiarity import evenly_spaced
    from mrnn.model.image_encoder import AT
    from mrnn.training.encoders.fine_tuning import (
        DEV_PHOTOS,
        EpochTuned,
        FineTuningOptions,
        fine_tune,
        photos_seen,
    )

    dataset = Dataset.load(data)
    images, _ = hold_out(dataset.split("train"), held_out, "--held-out")
    dev = evenly_spaced(dataset.split("dev"), DEV_PHOTOS)
    options = FineTuningOptions(epochs=epochs, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    check_output("--out", out, inputs=[], overwrite=overwrite)
    began = time.monotonic()

    def report(done: EpochTuned) -> None:
        recall = "" if done.recall is None else f", R@1 of dev's photos {done.recall:.1%}"
        tell(
            f"epoch {done.epoch}  loss: CIDEr vectors {done.cider_loss:.3f}, joint embedding "
            f"{done.joint_loss:.3f}{recall}  {time.monotonic() - began:,.0f} s"
        )

    with progress("Fine-tuning", photos_seen(len(images), options)) as advance:
        tuned = fine_tune(encoder, out, images, dev, options, advance, report)
    _, at, size = encoder.partition(AT)
    name = f"{tuned.identity.name}{at}{size}"
    pixels = size or tuned.identity.size
    say(f"{out}: {name} ({tuned.identity.layer}, {pixels} px), tuned on {len(images):,} photos")
    tell(f"Next: mrnn extract {data} --encoder {name} --encoder-file {out}")
