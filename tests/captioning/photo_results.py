"""Results for tests that write them."""

from mrnn.captioning.results import Caption, ImageCaptions, Word
from mrnn.model.tags import Tag


def result(name, captions=2, text='a "dog", {}'):
    """A photo's captions; `text` gets the rank of each."""
    word = Word(word="dog", log_probability=-0.25)
    said = tuple(
        Caption(text=text.format(rank), log_probability=-0.5 * rank, words=(word,))
        for rank in range(1, captions + 1)
    )
    tags = (Tag(tag="person", probability=0.9, count=2), Tag(tag="dog", probability=0.8))
    return ImageCaptions(image=name, captions=said, tags=tags, familiarity=0.9, confidence=0.7)
