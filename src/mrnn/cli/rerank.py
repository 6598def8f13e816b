"""Rerank n-best lists."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import EncoderFile, Json, ModelFolder, print_json, say, tell
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.captioning.consensus import ConsensusOptions
    from mrnn.captioning.nbest import NBest
    from mrnn.model.image_encoder import ImageEncoder

EVIDENCE_SHOWN = 3


class By(StrEnum):
    """Measures of similarity."""

    cider = "cider"
    bleu = "bleu"


class Space(StrEnum):
    """The feature space in which neighbours are found."""

    raw = "raw"
    refined = "refined"
    joint = "joint"


class Distance(StrEnum):
    """How features are compared."""

    cosine = "cosine"
    euclidean = "euclidean"


def rerank(
    nbest: Annotated[
        Path, typer.Argument(help="JSON lines: what `mrnn caption --n-best 10 --json` prints")
    ],
    against: Annotated[
        str | None, typer.Argument(metavar="[self]", help="The same as --data self")
    ] = None,
    by: Annotated[By, typer.Option(help="Measure of similarity")] = By.cider,
    neighbours: Annotated[
        int | None,
        typer.Option(
            min=1, help="Nearest training photos whose captions are compared [default: 60]"
        ),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(
            min=1, help="The most similar captions that count [default: 125; by bleu 175]"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA|self",
            help="A dataset folder; self: by each other, without any data [default: self]",
        ),
    ] = None,
    features: Annotated[
        Space | None,
        typer.Option(
            help="Where neighbours are found: raw features, those refined by the network, or "
            "the joint embedding [default: joint; raw without heads]"
        ),
    ] = None,
    distance: Annotated[
        Distance | None, typer.Option(help="How features are compared [default: cosine]")
    ] = None,
    model: ModelFolder = None,
    encoder_file: EncoderFile = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Show the neighbours and their captions")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rerank n-best lists of any system by consensus."""
    from mrnn.captioning.consensus import SELF, ConsensusOptions
    from mrnn.captioning.nbest import rank_by_each_other, read_nbest

    if against not in (None, SELF):
        raise OptionsError(f"{against!r} after the n-best file; expected self, or --data {against}")
    if against and data not in (None, SELF):
        raise OptionsError(f"self and --data {data} exclude each other; give one of them")
    lists = read_nbest(nbest)
    given = {
        "neighbours": neighbours, "references": references, "features": features,
        "distance": distance, "evidence": evidence or None,
    }  # fmt: skip
    asked = {name: value for name, value in given.items() if value is not None}
    if data in (None, SELF):
        if asked:
            raise OptionsError(
                f"--{min(asked)} takes captions of training photos; give --data DATA"
            )
        ranked = rank_by_each_other(lists, by.value)
    else:
        known = asked.keys() & ConsensusOptions.model_fields
        options = ConsensusOptions.model_validate({"by": by, **{k: asked[k] for k in known}})
        ranked = _by_neighbours(lists, Path(data), model, encoder_file, options, evidence=evidence)
    for each in ranked:
        if as_json:
            print_json(each.model_dump_json(exclude_unset=True))
        else:
            say(_for_people(each))


def _by_neighbours(
    lists: "list[NBest]",
    data: Path,
    model: Path | None,
    encoder_file: Path | None,
    options: "ConsensusOptions",
    *,
    evidence: bool,
) -> "list[NBest]":
    from mrnn.captioning.consensus import TrainingCaptions, feature_space
    from mrnn.captioning.nbest import PhotoFeatures, find_neighbours, rank_by_neighbours
    from mrnn.data.dataset import Dataset
    from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint

    dataset = Dataset.load(data)
    captions = TrainingCaptions(dataset.split("train"))
    search = None
    if any(each.neighbours is None for each in lists):
        for note in captions.shortage(options):
            tell(f"Note: {note}")
        checkpoint = Checkpoint.load(model or DEFAULT_MODEL)
        space = feature_space(dataset, captions.images, checkpoint, options)

        def load_encoder() -> "ImageEncoder":
            return checkpoint.load_encoder(encoder_file)

        search = space, PhotoFeatures(dataset, checkpoint.encoder, load_encoder)
    found = find_neighbours(lists, captions, options.neighbours, search)
    return list(rank_by_neighbours(lists, captions, found, options, evidence=evidence))


def _for_people(each: "NBest") -> str:
    lines = [f"{each.image}:"]
    for caption in each.captions:
        place = caption.consensus
        if place is None:
            continue
        lines.append(
            f"  {place.rank:>2} (was {place.rank_before:>2})  {place.score:6.3f}  {caption.text}"
        )
        if (closest := caption.closest) is not None:
            said = (
                f"word for word in {closest.copies:,} training captions"
                if closest.copies
                else (
                    f"new; closest, {closest.similarity:.2f}, of {closest.image}: {closest.caption}"
                )
            )
            lines.append(f"      {said}")
    for image in (each.evidence or ())[:EVIDENCE_SHOWN]:
        how_far = "" if image.distance is None else f", {image.distance:.3f} away"
        lines += [f"  like {image.image}{how_far}:", *(f"    {text}" for text in image.captions)]
    return "\n".join(lines)
