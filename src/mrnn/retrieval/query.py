"""A query: a sentence, of which each word is known, names a tag or is ignored; or a photo.

Letters: F image feature, D joint embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrnn.data.images import ImageSource, load_image
from mrnn.errors import OptionsError, printable
from mrnn.model.image_encoder import encode_finite
from mrnn.model.tags import Tagger
from mrnn.retrieval.index.index import RetrievalModel
from mrnn.shapes import Float32
from mrnn.tokenizer import tokenize

MAX_WORDS = 100
"""Most words of a query."""
LONGEST_NAME = 4
"""Most words of a tag's name that are looked for."""

Query = str | Path | ImageSource
"""A sentence is a plain string; anything else is a photo, a `Path` to one included."""


@dataclass(frozen=True)
class PreparedQuery:
    """A query as it is searched."""

    vector: Float32[np.ndarray, " D"] | None
    """None of a sentence that only names tags."""
    words: list[int] | None = None
    """The ids of a sentence's known words, without those that name tags; None of a photo."""
    feature: Float32[np.ndarray, "1 F"] | None = None
    """None of a sentence."""
    tags: Sequence[str] = ()
    """Words and phrases that find photos by tags: each has an unknown word."""
    ignored: Sequence[str] = ()
    """Unknown words that name no tag."""

    @property
    def notes(self) -> list[str]:
        """Lines about words that the model does not know."""
        notes = [f'"{name}" is not in the model\'s vocabulary: found by tags' for name in self.tags]
        if self.ignored:
            listed = ", ".join(self.ignored[:10])
            notes.append(f"Ignored, as the model does not know them: {listed}")
        return notes


def prepare_query(query: Query, model: RetrievalModel, tagger: Tagger | None) -> PreparedQuery:
    """Raises OptionsError for a sentence without a word to search for, ImageError for a photo."""
    if isinstance(query, str):
        return _prepare_sentence(query, model, tagger)
    encoder = model.encoder
    photo = load_image(query, least_side=encoder.identity.least_side)
    name = printable(query) if isinstance(query, Path) else "the photo"
    feature = encode_finite(encoder, encoder.preprocess(photo), name)[None]
    return PreparedQuery(model.heads.embed_image(feature)[0], feature=feature)


def _prepare_sentence(query: str, model: RetrievalModel, tagger: Tagger | None) -> PreparedQuery:
    words, vocabulary = tokenize(query), model.checkpoint.vocabulary
    if not words:
        raise OptionsError("The query is empty; give a sentence, or the path of a photo")
    if len(words) > MAX_WORDS:
        raise OptionsError(
            f"The query has {len(words):,} words; {MAX_WORDS} are the most that can be asked"
        )
    unknown = list(dict.fromkeys(word for word in words if word not in vocabulary))
    tags = _names_of_tags(words, set(unknown), tagger) if tagger else []
    named = {word for name in tags for word in name.split()}
    known = [word for word in words if word not in named.union(unknown)]
    if not (known or tags):
        listed = ", ".join(map(repr, unknown[:5]))
        raise OptionsError(f"The model knows no word of the query ({listed}); try others")
    ids = vocabulary.encode(known)
    vector = model.heads.embed_text([ids])[0] if ids else None
    ignored = [word for word in unknown if word not in named]
    return PreparedQuery(vector, ids, tags=tags, ignored=ignored)


def _names_of_tags(words: list[str], unknown: set[str], tagger: Tagger) -> list[str]:
    """The longest names of tags, from the left, that have an unknown word."""
    found: dict[str, None] = {}
    while words and unknown:
        names = (words[:length] for length in range(LONGEST_NAME, 0, -1))
        named = (name for name in names if unknown & set(name) and tagger.find(" ".join(name)))
        name = next(named, [])
        if name:
            found[" ".join(name)] = None
        words = words[len(name) or 1 :]
    return list(found)
