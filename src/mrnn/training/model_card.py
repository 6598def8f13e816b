"""The model card: facts of a training run, in the model's folder."""

from pathlib import Path

from mrnn.model.config import EncoderIdentity
from mrnn.model.model_files import MODEL_CARD
from mrnn.outputs import write_whole
from mrnn.training.data import TrainingData
from mrnn.training.recipe import Recipe
from mrnn.training.validation import DevFigures


def write_model_card(
    folder: Path,
    recipe: Recipe,
    encoder: EncoderIdentity,
    data: TrainingData,
    epoch: int,
    figures: DevFigures,
) -> None:
    """RUN/MODEL_CARD.md, replaced atomically."""
    splits = "\n".join(
        f"- {split}: {images:,} photos, {captions:,} captions"
        for split, (images, captions) in data.sizes.items()
    )
    rows = "\n".join(
        f"| {name} | {value:.3f} |" for name, value in vars(figures).items() if value is not None
    )
    source = "train and this text" if data.text else "train alone"
    tables = ("model", "training", "text") if data.text else ("model", "training")
    options = "\n".join(
        f"- {table}: " + ", ".join(f"{key} {value}" for key, value in values.items())
        for table, values in recipe.model_dump(mode="json").items()
        if table in tables
    )
    text = f"""# {recipe.name}: a model trained by mrnn

A multimodal recurrent network (m-RNN, Mao et al., ICLR 2015) that captions photos.

## Data

The dataset folder `{data.folder}`:

{splits}
{_text_of(data)}
The vocabulary comes from {source}: {len(data.vocabulary):,} words and special tokens. The best
epoch was chosen on dev.

## Terms

The terms of the training data apply to these weights.

## Recipe

`{recipe.name}`, on features of {encoder}.

{options}

## Figures on dev

Epoch {epoch}, the best so far. Captions by greedy search; BLEU from 0 to 1, CIDEr-D from 0 to 10.

| figure | value |
|---|---|
{rows}

```sh
mrnn evaluate RUN --data {data.folder} --split dev --beam-size 1
```
"""
    write_whole(folder / MODEL_CARD, text)


def _text_of(data: TrainingData) -> str:
    """Lines on captions without photos, with an empty line after; empty without them."""
    if not data.text:
        return ""
    files = "\n".join(f"- {name}: {captions:,} captions" for name, captions in data.text.sizes)
    return f"\nText without photos, learned before the pairs:\n\n{files}\n"
