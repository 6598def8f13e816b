"""Caption text to words and back.

The words are those of the Stanford PTB tokenizer as the COCO caption scorer runs it: lower case,
contractions split, brackets as signs, single marks of punctuation dropped.

Scripts without spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are the
exception: each character, with the marks on it, is a word. Real words would take a dictionary for
each language; characters need none, lose nothing, and join again to just what was written. The
script decides, not an option of the dataset: so mixed text comes out right, and training, decoding
and measuring cannot disagree. For English it changes nothing.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mrnn.errors import CheckpointError, DataError
from mrnn.files import read_plain
from mrnn.outputs import write_whole
from mrnn.shapes import Int

# ruff: noqa: RUF001 (look-alike quotes and dashes are the matter of this file)
_LETTER = (
    r"(?:[^\W\d_²³¹¼-¾⁰-₎⅐-⅟①-⓿❶-➓]"
    r"|[\u0300-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u06d6-\u06ed]"  # accents
    r"|[\u0730-\u074a\u07a6-\u07b0\u07eb-\u07f3]"
    r"|[\u0900-\u0963\u0970-\u0dff\u0e31-\u0e4e\u0eb1-\u0ece\u0f71-\u0fbc]"  # vowel signs
    r"|[\u102b-\u103e\u1056-\u109d\u135d-\u135f\u17b4-\u17d3\u1a17-\u1a7f\u1b00-\u1b44]"
    r"|[\u3099\u309a\U000e0100-\U000e01ef]"
    r"|[\u1b80-\u1bad\u1be6-\u1bf3\u1c24-\u1c37\ua980-\ua9c0\uaaeb-\uaaf6\uabe3-\uabed])"
)
_UNSPACED = (
    r"[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff\U000e0100-\U000e01ef"
    r"\u0e01-\u0e4e\u0e81-\u0ece\u0edc-\u0edf"  # Thai, Lao
    r"\u1000-\u103f\u1050-\u108f\u1780-\u17d3\u17d7\u17dc]"  # Burmese, Khmer
)
_MARKS = r"[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"
_MARKS += r"\u102b-\u103e\u1056-\u1059\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d"
_MARKS += r"\u17b4-\u17d3\u3099\u309a\U000e0100-\U000e01ef]"
_CHARACTER = rf"{_UNSPACED}{_MARKS}*"
_UNSPACED_STOP = r"[、。，．！？：；「」『』]"
_TOKEN = rf"""
\s?(
      [a-z]+(?=,?(?:\s|$)) | [.,;"](?=\s|$) | [¼½¾⅓⅔]  # the most common first, for speed
    | https?://[^\s"<>|(){{}}\[\]]+[^\s"'<>|.!?(){{}},;:&\[\]-]
    | <?[\w.%+-]{{1,64}}@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?>?
    | (?:[\w-]{{1,63}}\.){{1,8}}(?:com|net|org|edu)\b(?:/[^\s"<>|()]+[^\s"<>|.!?(){{}},-])?
    | [a-z]*[a-mo-z](?=n['’‘`]t) | n['’‘`]t(?!{_LETTER})  # do n't
    | ['’](?:[smd]|re|ve|ll)(?!{_LETTER})  # man 's
    | '(?:tis|twas)\b | ['’](?:em|till?|cause|[2-9]0s|\d\d(?!\S)|n(?:['’]|(?!{_LETTER})))
    | (?:ol|dunkin|somethin)['’](?!{_LETTER}) | y['’](?=all|know)
    | (?:c['’](?:mon|est)|cap['’]n|ev'ry|li'l|nor'easter)(?!{_LETTER})
    | {_LETTER}+[aeiouy]['’‘`][aeiou]{_LETTER}*  # ma'am
    | [dol]['’‘`](?:{_LETTER}|\d){{2,}}(?:-{_LETTER}+)* | [dlj]['’](?!s\b) | s'mores  # o'clock
    | (?-i:[A-HJ-XZn])['’‘`]{_LETTER}{{2,}}  # O'Brien
    | [a-z0-9]+(?:-[a-z0-9]+){{0,2}}(?:/[a-z0-9]+(?:-[a-z]+){{0,2}}){{1,2}}  # 1/2-inch, and/or
    | [^\W_][\w.,]{{0,60}}(?:-[^\W_]+)*-(?:(?:[a-z]\.){{2,}}|[^\W_]+)  # t-shirt
    | [^\W_]{{1,64}}(?:[-_‐‑][^\W_]+)+
    | (?-i:[A-Z]+(?:[+&][A-Z]+)+|[A-Z]*\$)  # AT&T, US$
    | [a-z](?:\.[a-z])+\.(?!{_LETTER}) | (?:ph|ed)\.d\.  # p.m.
    | [a-z]\.(?!{_LETTER}|\s*$|\s+(?-i:An?|The|There|This|He|She|It|They|In|One|Some)\b)  # a W.
    | (?:m[rst]|mrs|drs?|profs?|ste?|[js]r|lt|col|gen|sgt|capt|cpl|pvt|maj|adm|rev|gov|sen|rep|pres
        |hon|ft|ave|blvd|rd|dept|bldg|bros|inc|co|corp|ltd|vs|etc|cf|al|jan|feb|mar|apr|ju[nl]|aug
        |sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|ph|est|tel|ext|sq|univ|esq)\.(?!{_LETTER})
    | (?:nos?|figs?|ca|pp|op|approx)\.(?=\s?\d)  # no. 5
    | {_LETTER}(?:{_LETTER}|\d)*(?:[.!?]{_LETTER}(?:{_LETTER}|\d)*)*
    | (?:(?<!-)[+-])?(?:\d+|(?<!\.))(?:[.,:]\d+)+  # 1,000
    | (?<!-)[+-]\d+(?:-\d+)* | \d(?:{_LETTER}|\d)*  # -5, 4x4
    | -[lr][rcs]b- | </?[a-z][^<>]*> | &(?:amp|lt|gt|quot|apos|nbsp);
    | [<>]?[:;=][-o*']?[()dp\\{{@|\[\]](?!{_LETTER})  # smileys
    | \#{_LETTER}+ | @[a-z_]\w* | -{{5,}} | [?!]{{2,}} | \*+ | _+ | @+ | \#+ | << | >>
    | [][(){{}}<>=%&+/\\|~^¡-ª¬-º¿×÷‚†-‣‰-‸※⁰-₎€℀-⯿、-〆،؛؟・！-･]
    )"""
_FLAGS = re.IGNORECASE | re.VERBOSE
_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}
_SPELLING = (
    {bracket: sign for sign, bracket in _BRACKETS.items()}
    | {f"’{ending}": f"'{ending}" for ending in ("s", "m", "d", "re", "ve", "ll")}
    | {"n’t": "n't", "n‘t": "n`t", "'tis": "'t is", "'twas": "'t was", "cannot": "can not"}
    | {"gonna": "gon na", "wanna": "wan na", "gotta": "got ta", "lemme": "lem me"}
    | {"gimme": "gim me", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
    | {"£": "#", "€": "$", "¢": "cents", "&amp;": "&", "&lt;": "<", "&gt;": ">"}
    | dict.fromkeys((".", ",", ";", '"', "&quot;", "&apos;", "&nbsp;"), "")
)
_JOIN = (
    r" (?=(?:'(?:[smd]|re|ve|ll)|n't)(?: |$))|(?<=\by') (?=all|know)|(?<=\bcan) (?=not(?: |$))"
    r"|(?<=\b(?:gon|wan)) (?=na(?: |$))|(?<=\bgot) (?=ta(?: |$))|(?<=\b(?:lem|gim)) (?=me(?: |$))"
    r"|(?<=[(\[{]) | (?=[)\]}])"
)
_JOIN_UNSPACED = rf"(?<={_UNSPACED}) (?={_UNSPACED})"


@cache
def _compiled(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Compiled on first use: that takes longer than all else here."""
    return re.compile(pattern, flags)


def tokenize(caption: str) -> list[str]:
    """The words of a caption, e.g. "A man's hat." is ["a", "man", "'s", "hat"].

    Unlike the reference, letters beyond U+FFFF are kept, and "一只狗。" is ["一", "只", "狗"].
    """
    caption = caption.replace("\xad", "").strip()
    if not caption:
        return []
    if not caption.isascii():
        stops = _compiled(_UNSPACED_STOP)
        caption = _compiled(_CHARACTER).sub(r" \g<0> ", stops.sub(" ", caption))
    words = [word.lower() for word in _compiled(_TOKEN, _FLAGS).findall(caption)]
    text = " ".join([_SPELLING.get(word, word) for word in words])
    words = text.replace("(", "-lrb-").replace(")", "-rrb-").split()
    return [sys.intern(word) for word in words]  # or millions of them would fill the memory


def join_words(words: Sequence[str]) -> str:
    """Words as readable text: ["a", "man", "'s"] is "a man's", and ["一", "只"] is "一只"."""
    text = " ".join([_BRACKETS.get(word, word) for word in words])
    if not text.isascii():
        text = _compiled(_JOIN_UNSPACED).sub("", text)
    return _compiled(_JOIN).sub("", text)


SPECIAL_TOKENS = ("<bos>", "<eos>", "<unk>")
MEND = "copy the whole folder again"


class Vocabulary:
    """Words and their ids, after the special tokens, which in a caption are unknown. Immutable."""

    BOS, EOS, UNK = 0, 1, 2  # the ids of the special tokens

    def __init__(self, words: Sequence[str]) -> None:
        for i, word in enumerate(words):
            if word.split() != [word]:
                raise DataError(f"Word {i}, {word!r}, is empty or has whitespace in it")
        twice = [word for word, count in Counter([*SPECIAL_TOKENS, *words]).items() if count > 1]
        if twice:
            raise DataError(f"Word {twice[0]!r} is in the vocabulary twice")
        self._words = (*SPECIAL_TOKENS, *words)
        self._ids = {word: i for i, word in enumerate(words, start=len(SPECIAL_TOKENS))}

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], min_count: int = 3) -> "Vocabulary":
        """The words seen at least `min_count` times: by falling count, then by alphabet."""
        counts = Counter(word for words in captions for word in words if word not in SPECIAL_TOKENS)
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls([word for word in ordered if counts[word] >= min_count])

    @classmethod
    def load(cls, path: Path | str, mend: str = MEND) -> "Vocabulary":
        """The vocabulary in a file; CheckpointError names the file and the line that is wrong.

        `mend` says what to do then.
        """
        try:
            lines = read_plain(Path(path)).decode().removesuffix("\n").split("\n")
        except DataError as error:
            raise CheckpointError(f"{error}; {mend}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise CheckpointError(f"{path}, line {line}: not UTF-8 text; {mend}") from None
        first: dict[str, int] = {}
        for line, word in enumerate(lines, start=1):
            problem = ""
            if line <= len(SPECIAL_TOKENS) and word != SPECIAL_TOKENS[line - 1]:
                problem = f"instead of {SPECIAL_TOKENS[line - 1]}"
            elif word.split() != [word]:
                problem = "instead of one word"
            elif first.setdefault(word, line) != line:
                problem = f"is on line {first[word]} too"
            if problem:
                raise CheckpointError(f"{path}, line {line}: {word!r:.60} {problem}; {mend}")
        if len(lines) < len(SPECIAL_TOKENS):
            token = SPECIAL_TOKENS[len(lines)]
            raise CheckpointError(
                f"{path}, line {len(lines) + 1}: the file ends before {token}; {mend}"
            )
        return cls(lines[len(SPECIAL_TOKENS) :])

    def save(self, path: Path | str) -> None:
        """Write one word a line, the special tokens first, in UTF-8."""
        write_whole(Path(path), "".join(f"{word}\n" for word in self._words))

    @property
    def words(self) -> tuple[str, ...]:
        """All words, the special tokens first; a word's place is its id."""
        return self._words

    def encode(self, words: Iterable[str]) -> list[int]:
        """The id of each word; `UNK` for one that is not in the vocabulary."""
        return [self._ids.get(word, self.UNK) for word in words]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of the ids up to the first `EOS`, without `BOS`."""
        words = []
        for i in ids:
            if i == self.EOS:
                break
            if i != self.BOS:
                words.append(self._words[i])
        return words

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._words == other._words

    def __hash__(self) -> int:
        return hash(self._words)


@dataclass(frozen=True)
class EncodedCaptions:
    """Captions as word ids, and the row of each one's image in a feature matrix.

    Letters: S captions, N images.
    """

    sentences: Sequence[Int[np.ndarray, " _"]]
    """Without `<bos>` and `<eos>`."""
    image_rows: Int[np.ndarray, " S"]

    @classmethod
    def of(
        cls,
        captions: Sequence[Sequence[Sequence[str]]],
        vocabulary: Vocabulary,
        rows: Int[np.ndarray, " N"] | None = None,
    ) -> "EncodedCaptions":
        """From the tokenized captions of each image, and its row among the features.

        Without `rows` they are in one order.
        """
        sentences = [
            np.array(vocabulary.encode(words), dtype=np.int32)
            for sentences in captions
            for words in sentences
        ]
        counts = [len(sentences) for sentences in captions]
        return cls(sentences, np.repeat(np.arange(len(counts)) if rows is None else rows, counts))

    @property
    def by_image(self) -> list[list[list[int]]]:
        """The sentences of each image, in the order of its rows; none of an image without any."""
        own: list[list[list[int]]] = [[] for _ in range(int(self.image_rows.max(initial=-1)) + 1)]
        for row, sentence in zip(self.image_rows.tolist(), self.sentences, strict=True):
            own[row].append(sentence.tolist())
        return own

    @property
    def lengths(self) -> Int[np.ndarray, " S"]:
        """Words of each, `<eos>` not counted."""
        return np.fromiter(map(len, self.sentences), np.int64, len(self.sentences))

    def __len__(self) -> int:
        return len(self.sentences)
