"""The files of a model and of its image encoder, as they go to another folder."""

import shutil
from pathlib import Path

from mrnn.model import image_encoder
from mrnn.model.checkpoint import CONFIG, ENCODERS, VOCABULARY, Checkpoint
from mrnn.model.encoder_classes import CLASSIFIERS, TAGS
from mrnn.model.heads import HEADS
from mrnn.model.image_encoder import ImageEncoder, JoinedEncoder, OnnxEncoder, encoder_file_name
from mrnn.model.network import WEIGHTS, graphs_of

MODEL_CARD = "MODEL_CARD.md"


def networks_of(encoder: ImageEncoder) -> list[OnnxEncoder]:
    """The single networks of an encoder."""
    if isinstance(encoder, JoinedEncoder):
        return list(encoder.parts)
    assert isinstance(encoder, OnnxEncoder)
    return [encoder]


def copy_model(checkpoint: Checkpoint, encoder: ImageEncoder, folder: Path) -> None:
    """Copy a model to a folder, and the networks and tags of its encoder to one in it."""
    run = checkpoint.folder
    (folder / ENCODERS).mkdir(parents=True)
    for name in (
        CONFIG, VOCABULARY, WEIGHTS, HEADS, MODEL_CARD, *graphs_of(checkpoint.config.model)
    ):  # fmt: skip
        if (run / name).exists():
            shutil.copyfile(run / name, folder / name)
    if checkpoint.tagger is not None:
        classes = run / ENCODERS if (run / ENCODERS).is_dir() else image_encoder.SHIPPED
        for name in (TAGS, CLASSIFIERS):
            shutil.copyfile(classes / name, folder / ENCODERS / name)
    for part in networks_of(encoder):
        shutil.copyfile(part.file, folder / ENCODERS / encoder_file_name(part.identity.name))
