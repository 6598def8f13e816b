"""Calibration of tags: on training photos, against what their captions name.

Letters: N photos, T tags, C coefficients (of d, of c, and the intercept).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from mrnn.metrics.inventions import NOTHING, Things, read_things
from mrnn.model.encoder_classes import Calibration, EncoderClasses, Entry, Kind, TagFile
from mrnn.model.tags import Tagger, plural
from mrnn.shapes import Bool, Float, Float32, Int

FOLDS = 5
PRECISION = 0.8
TEMPERATURES = np.geomspace(0.3, 3, 24)
OF_KIND, OF_TAG = (1e-3, 1e-3, 1e-4), (8.0, 8.0, 1.0)
"""Precisions of the normal distributions from which coefficients come."""
STEPS = 30
KINDS: tuple[Kind, ...] = ("leaf", "detector", "parent")
"""The more particular first."""
THRESHOLDS = np.arange(0.5, 0.96, 0.01)


def words_of_tags(entries: Sequence[Entry]) -> list[frozenset[str]]:
    """The phrases that name each tag: its own, those of its thing, those of tags below it."""
    things: dict[str, set[str]] = {}
    thing_of: dict[str, str] = {}
    for phrases in read_things().phrases.values():
        for words, thing in phrases:
            things.setdefault(thing, set()).add(" ".join(words))
            thing_of[" ".join(words)] = thing
    found: list[set[str]] = []
    for entry in entries:
        own = {form for name in entry.names for form in (name, plural(name))}
        name = entry.names[0]
        if thing_of.get(name) == name:
            own |= things[name]
        found.append(own)
    for place in reversed(range(len(entries))):  # parents stand before
        for parent in entries[place].parents:
            found[parent] |= found[place]
    return list(map(frozenset, found))


def named_tags(
    captions: Sequence[Sequence[Sequence[str]]], entries: Sequence[Entry]
) -> Bool[np.ndarray, "N T"]:
    """Which tags the captions of each photo name."""
    words = words_of_tags(entries)
    tags_of: dict[str, list[int]] = {}
    for tag, phrases in enumerate(words):
        for phrase in phrases:
            tags_of.setdefault(phrase, []).append(tag)
    known = set(tags_of) | {" ".join(w) for each in read_things().phrases.values() for w, _ in each}
    nothing = {
        " ".join(w) for each in read_things().phrases.values() for w, t in each if t == NOTHING
    }
    by_first: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for phrase in known:
        split = tuple(phrase.split())
        by_first.setdefault(split[0], []).append((split, NOTHING if phrase in nothing else phrase))
    matcher = Things({w: tuple(sorted(p, key=lambda x: -len(x[0]))) for w, p in by_first.items()})
    named = np.zeros((len(captions), len(entries)), bool)
    for row, sentences in zip(named, captions, strict=True):
        for sentence in sentences:
            for phrase in matcher.named(sentence):
                row[tags_of.get(phrase, [])] = True
    return named


def fit_temperature(
    classes: EncoderClasses, features: Float32[np.ndarray, "N F"], named: Bool[np.ndarray, "N T"]
) -> float:
    """The temperature by which the classes that are named are likeliest."""
    if not classes.classifiers:
        return 1.0
    is_named = named[:, list(classes.file.imagenet)]
    rows = np.flatnonzero(is_named.any(axis=1))
    part = features[rows]
    scores = np.mean(
        [each.scores(part[:, place]) for place, each in classes.classifiers.values()], axis=0
    )
    costs = []
    for temperature in TEMPERATURES:
        softmax = np.exp(scores / temperature - (scores / temperature).max(axis=1, keepdims=True))
        softmax /= softmax.sum(axis=1, keepdims=True)
        costs.append(-np.log((softmax * is_named[rows]).sum(axis=1) + 1e-9).mean())
    return float(TEMPERATURES[int(np.argmin(costs))])


def fit_logistic(
    x: Float[np.ndarray, "N C"],
    y: Bool[np.ndarray, " N"],
    centre: Float[np.ndarray, " C"],
    precision: Float[np.ndarray, " C"],
) -> Float[np.ndarray, " C"]:
    """The likeliest coefficients, by Newton's method, given a normal distribution of them."""

    def cost(weights: Float[np.ndarray, " C"]) -> float:
        odds = x @ weights
        away = weights - centre
        return float((np.logaddexp(0, odds) - y * odds).sum() + precision @ (away * away) / 2)

    weights, now = centre.copy(), cost(centre)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (p - y) + precision * (weights - centre)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        while np.abs(step).max() > 1e-4 and (after := cost(weights - step)) >= now:
            step /= 2
        if np.abs(step).max() <= 1e-4:
            break
        weights, now = weights - step, after
    return weights


def fit_weights(
    odds: Float32[np.ndarray, "2 N T"], named: Bool[np.ndarray, "N T"], tagger: Tagger
) -> Float[np.ndarray, "T 3"]:
    """Coefficients of each tag: near those of its kind, the nearer the less it is named."""
    known = tagger.classes.known
    kinds = [(kind, *known[:, tag]) for tag, kind in enumerate(tagger.kinds)]
    weights = np.zeros((named.shape[1], 3))
    for kind in sorted(set(kinds)):
        if not any(kind[1:]):
            continue
        tags = [tag for tag, own in enumerate(kinds) if own == kind]
        used = [*np.flatnonzero(kind[1:]).tolist(), 2]
        pooled = _inputs(odds[:, ::4, tags].reshape(2, -1), used)
        centre = fit_logistic(
            pooled, named[::4, tags].ravel(), np.zeros(len(used)), np.array(OF_KIND)[used]
        )
        for tag in tags:
            weights[tag, used] = fit_logistic(
                _inputs(odds[:, :, tag], used), named[:, tag], centre, np.array(OF_TAG)[used]
            )
    return weights


def _inputs(odds: Float32[np.ndarray, "2 N"], used: Sequence[int]) -> Float[np.ndarray, "N C"]:
    ones = np.ones_like(odds[:1])
    return np.concatenate([odds, ones])[list(used)].T.astype(np.float64)


def calibrate(
    file: TagFile,
    classes: EncoderClasses,
    features: Float32[np.ndarray, "N F"],
    named: Bool[np.ndarray, "N T"],
    sources: Int[np.ndarray, " N"],
) -> Calibration:
    """Temperature and coefficients of all photos; thresholds by photos left out of a fit.

    Thresholds are right for each of the sources.
    """
    temperature = fit_temperature(classes, features, named)
    nothing = [(0.0, 0.0, 0.0)] * len(file.tags)
    draft = Calibration(temperatures={}, thresholds={}, weights=nothing)
    tagger = Tagger(classes, draft)
    odds = classes.log_odds(features, temperature)
    fold = np.arange(len(features)) % FOLDS
    left_out = np.zeros(named.shape, np.float32)
    for number in range(FOLDS):
        rows, others = fold == number, fold != number
        weights = fit_weights(odds[:, others], named[others], tagger)
        left_out[rows] = probabilities(classes, odds[:, rows], weights)
    thresholds = choose_thresholds(left_out, named, sources, tagger)
    weights = fit_weights(odds, named, tagger)
    temperatures = {classes.names: temperature} if classes.classifiers else {}
    for count in range(1, len(classes.classifiers)):
        for names in combinations(classes.classifiers, count):
            fewer = replace(
                classes, classifiers={name: classes.classifiers[name] for name in names}
            )
            temperatures[fewer.names] = fitting_temperature(fewer, features, named, weights)
    return Calibration(
        temperatures={names: round(value, 3) for names, value in temperatures.items()},
        thresholds=thresholds,
        weights=[tuple(round(value, 3) for value in row) for row in weights.tolist()],
    )


def fitting_temperature(
    classes: EncoderClasses,
    features: Float32[np.ndarray, "N F"],
    named: Bool[np.ndarray, "N T"],
    weights: Float[np.ndarray, "T 3"],
) -> float:
    """The temperature by which fewer classifiers fit the coefficients of all."""
    some, costs = slice(None, None, 4), []
    for temperature in TEMPERATURES:
        odds = classes.log_odds(features[some], float(temperature))
        p = np.clip(probabilities(classes, odds, weights), 1e-6, 1 - 1e-6)
        costs.append(-np.log(np.where(named[some], p, 1 - p)).mean())
    return float(TEMPERATURES[int(np.argmin(costs))])


def probabilities(
    classes: EncoderClasses, odds: Float32[np.ndarray, "2 N T"], weights: Float[np.ndarray, "T 3"]
) -> Float[np.ndarray, "N T"]:
    """As `Tagger.probabilities`."""
    a, b, intercept = weights.T
    return classes.known.any(axis=0) / (1 + np.exp(-(odds[0] * a + odds[1] * b + intercept)))


def choose_thresholds(
    found: Float[np.ndarray, "N T"],
    named: Bool[np.ndarray, "N T"],
    sources: Int[np.ndarray, " N"],
    tagger: Tagger,
) -> dict[Kind, float]:
    """Of each kind the least at which `PRECISION` of the tags given are named, in each source."""
    thresholds: dict[Kind, float] = {}
    below = np.zeros((found.shape[1],) * 2, np.float32)  # [tag, ancestor]
    for tag, above in enumerate(tagger.classes.ancestors):
        below[tag, list(above)] = 1
    covered = np.zeros(found.shape, bool)  # by a tag below that is given
    for kind in KINDS:
        of_kind = np.array([own == kind for own in tagger.kinds])
        free = ~covered[:, of_kind]
        for threshold in THRESHOLDS:
            given = (found[:, of_kind] >= threshold) & free
            right = given & named[:, of_kind]
            counts = [(right[sources == s].sum(), given[sources == s].sum()) for s in range(2)]
            if all(hits >= PRECISION * count > 0 for hits, count in counts):
                break
        thresholds[kind] = round(float(threshold), 2)
        covered |= (found * of_kind >= threshold) @ below > 0
    return thresholds
