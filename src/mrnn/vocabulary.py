"""The words a model knows, each with its id; saved as plain text, one word a line."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mrnn.errors import CheckpointError, DataError
from mrnn.whole_files import write_whole

SIGNS = ("<start>", "<end>", "<unk>")


class Vocabulary:
    """Words and their ids, after the three signs. Immutable; a sign in a caption is unknown."""

    START, END, UNKNOWN = 0, 1, 2  # the ids of the signs

    def __init__(self, words: Sequence[str]) -> None:
        for i, word in enumerate(words):
            if word.split() != [word]:
                raise DataError(f"Word {i}, {word!r}, is empty or has whitespace in it")
        twice = [word for word, count in Counter([*SIGNS, *words]).items() if count > 1]
        if twice:
            raise DataError(f"Word {twice[0]!r} is in the vocabulary twice")
        self._words = (*SIGNS, *words)
        self._ids = {word: i for i, word in enumerate(words, start=len(SIGNS))}

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], minimum_count: int = 3) -> "Vocabulary":
        """The words seen at least `minimum_count` times: by falling count, then by alphabet."""
        counts = Counter(word for words in captions for word in words if word not in SIGNS)
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls([word for word in ordered if counts[word] >= minimum_count])

    @classmethod
    def load(cls, path: Path | str) -> "Vocabulary":
        """The vocabulary in a file; CheckpointError names the file and the line that is wrong."""
        try:
            lines = Path(path).read_bytes().decode().removesuffix("\n").split("\n")
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise CheckpointError(f"{path}, line {line}: not UTF-8 text") from None
        first: dict[str, int] = {}
        for line, word in enumerate(lines, start=1):
            if line <= len(SIGNS) and word != SIGNS[line - 1]:
                raise CheckpointError(f"{path}, line {line}: {word!r} instead of {SIGNS[line - 1]}")
            if word.split() != [word]:
                raise CheckpointError(f"{path}, line {line}: {word!r} instead of one word")
            if first.setdefault(word, line) != line:
                raise CheckpointError(f"{path}, line {line}: {word!r} is on line {first[word]} too")
        if len(lines) < len(SIGNS):
            sign = SIGNS[len(lines)]
            raise CheckpointError(f"{path}, line {len(lines) + 1}: the file ends before {sign}")
        return cls(lines[len(SIGNS) :])

    def save(self, path: Path | str) -> None:
        """Write one word a line, the signs first, in UTF-8."""
        write_whole(Path(path), "".join(f"{word}\n" for word in self._words))

    @property
    def words(self) -> tuple[str, ...]:
        """All words, the signs first; a word's place is its id."""
        return self._words

    def encode(self, words: Iterable[str]) -> list[int]:
        """The id of each word; UNKNOWN for a word that is not in the vocabulary."""
        return [self._ids.get(word, self.UNKNOWN) for word in words]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of the ids up to the first END, without START."""
        words = []
        for i in ids:
            if i == self.END:
                break
            if i != self.START:
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
