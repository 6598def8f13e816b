"""What the figures of a report depend on, beside the captions: references, measures, resampling."""

from collections.abc import Sequence

from mrnn.metrics.cider import DocumentFrequencies
from mrnn.metrics.ngrams import Words

Setting = str | int | float | tuple[str, ...]


def settings_of(
    references: Sequence[Sequence[Words]],
    frequencies: DocumentFrequencies | None,
    resamples: int,
    seed: int,
) -> dict[str, Setting]:
    """The settings of the scores; of each measure, see `depends_on`."""
    source = f"{frequencies.images:,} given images" if frequencies else "these references"
    return basis_of(references, resamples, seed) | {
        "document_frequencies_of": source,
        "bleu": "corpus, nearest reference length",
        "meteor": "corpus, METEOR 1.5 for English",
        "rouge_l": "mean, beta 1.2",
        "cider": f"mean, document frequencies of {source}",
        "cider_plain": "as CIDEr-D, without clipping or length penalty",
        "invented": "fraction of named things that no reference names",
        "invented_person_or_dog": "captions that invent a person or a dog",
        "things_recall": "fraction of things in two references that the caption names",
        "distinct": "fraction of different captions",
        "novel": "fraction of captions that are no training caption, word for word",
    }


def basis_of(
    references: Sequence[Sequence[Words]], resamples: int, seed: int
) -> dict[str, Setting]:
    """What every figure and interval depends on."""
    counts = [len(sentences) for sentences in references]
    least, most = min(counts), max(counts)
    return {
        "images": len(references),
        "references": sum(counts),
        "protocol": f"c{least}" if least == most else f"c{least}-{most}",
        "tokenizer": "PTB, lower case, without punctuation",
        "resamples": resamples,
        "resampling_seed": seed,
    }


def depends_on(key: str, settings: dict[str, Setting]) -> str:
    """What one measure, `distinct` or `novel` depends on beside the words."""
    return str(settings["bleu" if key.startswith("bleu") else key])
