"""Keys of rows: a hash of each name, and the table in which rows are found by it.

Letters: N rows asked for, R rows of a table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from mrnn.shapes import Int, UInt64


def keys_of(names: Iterable[str]) -> UInt64[np.ndarray, "R 2"]:
    """128 bits of each name: two names have never the same."""
    encoded = (name.encode("utf-8", "surrogatepass") for name in names)
    digests = b"".join(blake2b(name, digest_size=16).digest() for name in encoded)
    return np.frombuffer(digests, "<u8").astype(np.uint64, copy=False).reshape(-1, 2)


@dataclass(frozen=True)
class KeyTable:
    """Where keys are found, in 24 bytes a row; sorted by their first halves."""

    first: UInt64[np.ndarray, " R"]
    second: UInt64[np.ndarray, " R"]
    rows: Int[np.ndarray, " R"]

    @classmethod
    def of(cls, keys: UInt64[np.ndarray, "R 2"], rows: Int[np.ndarray, " R"]) -> "KeyTable":
        """From keys in any order."""
        order = np.argsort(keys[:, 0], kind="stable")
        return cls(keys[order, 0], keys[order, 1], rows[order])

    def find(self, keys: UInt64[np.ndarray, "N 2"]) -> Int[np.ndarray, " N"]:
        """The row of each key, -1 for one that is not there."""
        found = np.full(len(keys), -1)
        places = np.searchsorted(self.first, keys[:, 0])
        left = np.arange(len(keys))
        while len(left):  # once, but for keys whose first halves are those of others
            left = left[places[left] < len(self.first)]
            left = left[self.first[places[left]] == keys[left, 0]]
            same = self.second[places[left]] == keys[left, 1]
            found[left[same]] = self.rows[places[left[same]]]
            left = left[~same]
            places[left] += 1
        return found

    def and_keys(self, keys: UInt64[np.ndarray, "N 2"], rows: Int[np.ndarray, " N"]) -> "KeyTable":
        """A table of these too."""
        new = KeyTable.of(keys, rows)
        places = np.searchsorted(self.first, new.first)
        return KeyTable(
            np.insert(self.first, places, new.first),
            np.insert(self.second, places, new.second),
            np.insert(self.rows, places, new.rows),
        )
