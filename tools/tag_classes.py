"""The tags of tags.json: everyday words for classes, and WordNet's more general ones.

tag_words.txt, tag_parents.txt and tag_detector.txt beside this file hold what no rule gives.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from mrnn.model.encoder_classes import Entry
from mrnn.tokenizer import tokenize

HERE = Path(__file__).parent
ANIMALS = 398
"""Classes of ImageNet before this one are animals."""
LATIN = re.compile(
    r"[A-Z][a-z]+( [a-z]+)? [a-z]*"
    r"(us|a|is|um|i|ae|ax|ex|ix|er|or|on|os|es|ys|yx|ens|ops|ensis|lar|leo|tundrarum)"
)
ENGLISH = (
    *("wolf", "robin", "lobster", "spider", "setter", "terrier", "pointer", "cat", "dragon"),
    *("retriever", "panda", "griffon", "monster", "cobra", "alligator"),
)


class WordNet:
    """The nouns of WordNet's data.noun."""

    def __init__(self, folder: Path) -> None:
        self.words: dict[str, list[str]] = {}
        self.above: dict[str, list[str]] = {}
        self.synsets: dict[str, list[str]] = {}
        for line in (folder / "data.noun").read_text(encoding="latin-1").splitlines():
            if line.startswith(" "):
                continue
            fields = line.partition(" | ")[0].split()
            key, count = fields[0], int(fields[3], 16)
            self.words[key] = fields[4 : 4 + 2 * count : 2]
            pointers = fields[5 + 2 * count :]
            signs = zip(pointers[::4], pointers[1::4], strict=False)
            self.above[key] = [to for sign, to in signs if sign in ("@", "@i")]
            for word in self.words[key]:
                self.synsets.setdefault(word.lower().replace("_", " "), []).append(key)

    def ancestors(self, key: str) -> list[str]:
        """All hypernyms, the nearest first."""
        found = [key]
        for each in found:
            found += [above for above in self.above[each] if above not in found]
        return found[1:]

    def of_class(self, number: int, label: str) -> str:
        """The synset of a class of ImageNet: most words in common, an animal or not."""
        asked = {word.strip().lower() for word in label.split(",")}
        keys = [key for word in sorted(asked) for key in self.synsets.get(word, [])]

        def agreement(key: str) -> float:
            own = {word.lower().replace("_", " ") for word in self.words[key]}
            above = self.ancestors(key)
            animal = any("beast" in self.words[each] for each in above)
            thing = any("artefact" in self.words[each] for each in above)
            fits = (animal == (number < ANIMALS)) + 0.1 * (thing or number < ANIMALS)
            return fits + len(own & asked) / len(own | asked)

        return max(keys, key=agreement)


def build_tags(labels: Sequence[str], wordnet: WordNet) -> tuple[list[Entry], list[int], list[int]]:
    """All tags, those of the classes of ImageNet, and those of the detector's."""
    names: dict[str, list[str]] = {}
    parents: dict[str, set[str]] = {}

    def add(words: Sequence[str], above: Sequence[str] = ()) -> str:
        known = names.setdefault(words[0], [])
        known += [word for word in words if word not in known]
        parents.setdefault(words[0], set()).update(above)
        return words[0]

    detector = []
    for line in _lines("tag_detector.txt"):
        own, _, above = line.partition(":")
        detector.append(add(_split(own), _split(above)))
    general = {}
    for line in _lines("tag_parents.txt"):
        own, _, synsets = line.partition("=")
        name = add(_split(own))
        general |= dict.fromkeys((tuple(each.split("/")) for each in _split(synsets)), name)

    def above(key: str) -> list[str]:
        """The general words above a synset; those among them are below others too."""
        found = []
        for each in wordnet.ancestors(key):
            if name := _general(wordnet.words[each], general):
                found.append(name)
                more = (_general(wordnet.words[k], general) for k in wordnet.ancestors(each))
                parents[name].update(filter(None, more))
        return found

    changed, banned = _changed_words()
    classes = []
    for number, label in enumerate(labels):
        words, keeps, own = changed.get(number, ([], True, None))
        words = words + [word for word in everyday(label) if keeps and word not in banned]
        named = above(wordnet.of_class(number, label)) if own is None else own
        classes.append(add(words, named))
    return _ordered(names, parents, classes, detector)


def _ordered(
    names: dict[str, list[str]],
    parents: dict[str, set[str]],
    classes: Sequence[str],
    detector: Sequence[str],
) -> tuple[list[Entry], list[int], list[int]]:
    """Parents first, and only the nearest of them; without words that nothing is below."""
    above: dict[str, set[str]] = {}

    def visit(name: str, line: tuple[str, ...] = ()) -> set[str]:
        if name in line:
            return set()
        if name not in above:
            direct = parents[name] - {name}
            above[name] = direct.union(*(visit(each, (*line, name)) for each in direct)) - {name}
        return above[name]

    for name in names:
        visit(name)
    used = {*classes, *detector}
    used |= set().union(*(above[name] for name in used))
    order = sorted(used, key=lambda name: (len(above[name]), name))
    place = {name: number for number, name in enumerate(order)}
    entries = []
    for name in order:
        nearest = above[name] - set().union(*(above[each] for each in above[name]))
        own = [" ".join(tokenize(word)) for word in names[name]]
        parent_places = sorted(place[each] for each in nearest)
        entries.append(Entry(names=tuple(dict.fromkeys(own)), parents=tuple(parent_places)))
    return entries, [place[name] for name in classes], [place[name] for name in detector]


def everyday(label: str) -> list[str]:
    """The words of a class of ImageNet without scientific ones."""
    words = [word.strip() for word in label.split(",")]
    kept = [word for word in words if not LATIN.fullmatch(word) or word.endswith(ENGLISH)]
    return [word.lower() for word in kept]


def _changed_words() -> tuple[dict[int, tuple[list[str], bool, list[str] | None]], set[str]]:
    """Words of classes, whether ImageNet's own follow, and parents; and words to leave out."""
    found, banned = {}, set()
    for line in _lines("tag_words.txt"):
        number, sign, words = line.split(maxsplit=2)
        if number == "not":
            banned.update(_split(words))
            continue
        words, colon, parents = words.partition(":")
        found[int(number)] = _split(words), sign == "+", _split(parents) if colon else None
    return found, banned


def _general(words: Sequence[str], general: dict[tuple[str, ...], str]) -> str | None:
    """The everyday word of a synset; the most particular description counts."""
    fitting = [key for key in general if set(key) <= set(words) and words[0] in (key[0], *key)]
    return general[max(fitting, key=len)] if fitting else None


def _lines(file: str) -> list[str]:
    lines = (HERE / file).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _split(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]
