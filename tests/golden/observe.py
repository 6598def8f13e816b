"""What the golden file holds of a photo, worked out by any captioner."""

import hashlib

import numpy as np

from mrnn.captioning.decode import decode
from mrnn.captioning.reranking import TERMS
from mrnn.data.images import load_image
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.tokenizer import Vocabulary, tokenize

SENTENCES = (
    "a man in a red shirt is standing on a street",
    "two dogs are running through the grass",
    "a woman 's xylophone",  # an unknown word
)
BEAM = DecodingOptions(beam_size=5, n_best=5)
LIKELIHOOD = RerankingOptions()
APPROXIMATE = {"default": {}, "beam of 5": {"beam_size": 5}}
"""Changes of the model's own options; the search is an int8 one."""
EXACT = {
    "plain beam": DecodingOptions(beam_size=5, n_best=2),
    "groups": DecodingOptions(beam_size=6, n_best=3, beam_groups=3),
    "force words": DecodingOptions(beam_size=5, force_words=("red", "dog")),
    "sampled": DecodingOptions(temperature=1, n_best=2, seed=7),
}


def crops_of(captioner, photo):
    """The crops of a photo, as each network sees them."""
    image = load_image(photo, least_side=captioner.encoder.identity.least_side)
    return captioner.encoder.preprocess(image)


def checksums(crops):
    """Of each network's pixels."""
    return [hashlib.sha256(np.ascontiguousarray(own).tobytes()).hexdigest() for own in crops]


def nats_of(captioner, feature):
    """Log-probabilities of each word of the sentences, and of `<eos>`."""
    network, vocabulary = captioner.checkpoint.network, captioner.checkpoint.vocabulary
    image, found = network.encode_image(feature[None]), {}
    for sentence in SENTENCES:
        words = vocabulary.encode(tokenize(sentence))
        state, nats = network.initial_state(1), []
        pairs = zip([Vocabulary.BOS, *words], [*words, Vocabulary.EOS], strict=True)
        for word, following in pairs:
            scores, state = network.step(np.array([word]), state, image)
            nats.append(round(float(scores[0, following]), 6))
        found[sentence] = nats
    return found


def hypotheses_of(captioner, feature):
    """Of a beam of five, best first, with their scores and what each term of reranking says."""
    checkpoint = captioner.checkpoint
    image = checkpoint.network.encode_image(feature[None])
    (found,) = decode(checkpoint.network, image, BEAM)
    words = [[list(hypothesis.words) for hypothesis in found]]
    terms = {name: term(checkpoint.heads, words, feature[None])[0] for name, term in TERMS.items()}
    return [
        {
            "text": " ".join(checkpoint.vocabulary.decode(hypothesis.words)),
            "score": round(hypothesis.score, 6),
            **{name: round(float(values[place]), 6) for name, values in terms.items()},
        }
        for place, hypothesis in enumerate(found)
    ]


def captions_by_int8_search(captioner, photo):
    """With the options of the model, reranked: texts and log-probabilities."""
    default = captioner.checkpoint.config.decoding
    return {
        name: _told(captioner.caption(photo, default.model_copy(update=changes)))
        for name, changes in APPROXIMATE.items()
    }


def captions_by_exact_search(captioner, consensus, photo):
    """By likelihood alone, and by consensus with reranking."""
    found = {
        name: _told(captioner.caption(photo, options, LIKELIHOOD))
        for name, options in EXACT.items()
    }
    options = DecodingOptions(beam_size=20, n_best=2)
    return found | {"consensus": _told(consensus.caption(photo, options))}


def _told(result):
    return [[caption.text, caption.log_probability] for caption in result.captions]
