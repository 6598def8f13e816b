"""What the page says of a model."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from mrnn.captioning.captioner import Captioner
from mrnn.model.confidence import GUESS
from mrnn.model.familiarity import UNFAMILIAR
from mrnn.model.model_files import MODEL_CARD


def model_facts(captioner: Captioner, version: str) -> dict[str, Any]:
    """Name, sizes, options and card of a model, for JSON; `version` is that of mrnn."""
    checkpoint = captioner.checkpoint
    config, card = checkpoint.config, None
    with suppress(OSError, UnicodeDecodeError):
        card = (Path(checkpoint.folder) / MODEL_CARD).read_text(encoding="utf-8")
    return {
        "name": config.recipe,
        "fingerprint": checkpoint.fingerprint,
        "version": version,
        "vocabulary_size": len(checkpoint.vocabulary),
        "encoder": config.encoder.model_dump(mode="json"),
        "decoding": config.decoding.model_dump(mode="json"),
        "reranking": config.reranking.model_dump(mode="json"),
        "has_heads": checkpoint.heads is not None,
        "has_tags": checkpoint.tagger is not None,
        "has_confidence": captioner.has_confidence,
        "guess": GUESS,
        "unfamiliar": UNFAMILIAR,
        "card": card,
    }
