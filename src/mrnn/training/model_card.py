"""The card of a trained model: facts of its run, for whoever finds the folder."""

from collections.abc import Mapping
from pathlib import Path

from mrnn.files import write_whole
from mrnn.model.config import EncoderIdentity
from mrnn.training.recipe import Recipe

MODEL_CARD = "MODEL_CARD.md"


def write_model_card(
    folder: Path,
    recipe: Recipe,
    *,
    encoder: EncoderIdentity,
    vocabulary_size: int,
    data: str,
    sizes: Mapping[str, tuple[int, int]],
    epoch: int,
    figures: Mapping[str, float | None],
) -> None:
    """RUN/MODEL_CARD.md, replaced at once. `sizes` are the images and captions of each split."""
    splits = "\n".join(
        f"- {split}: {images:,} photos, {captions:,} captions"
        for split, (images, captions) in sizes.items()
    )
    rows = "\n".join(
        f"| {name} | {value:.3f} |" for name, value in figures.items() if value is not None
    )
    options = "\n".join(
        f"- {table}: " + ", ".join(f"{key} {value}" for key, value in values.items())
        for table, values in recipe.model_dump(mode="json").items()
        if table in ("model", "training")
    )
    text = f"""# {recipe.name}: a model trained by mrnn

A multimodal recurrent network (m-RNN, Mao et al., ICLR 2015) that captions photos.

## Data

The dataset folder `{data}`:

{splits}

The vocabulary is of train alone: {vocabulary_size:,} words and special tokens. The epoch
was chosen on dev.

## Terms

The terms of the training data apply to these weights.

## Recipe

`{recipe.name}`, on features of {encoder}.

{options}

## Figures on dev

Of epoch {epoch}, the best so far; captions by greedy search, BLEU from 0 to 1, CIDEr-D from 0
to 10.

| figure | value |
|---|---|
{rows}

```sh
mrnn evaluate RUN --data {data} --split dev --beam-size 1
```
"""
    write_whole(folder / MODEL_CARD, text)
