import numpy as np
import pytest

from mrnn.data.feature_store.keys import KeyTable, keys_of


def test_keys_tell_names_apart():
    names = [f"{number}.jpg" for number in range(1000)]
    keys = keys_of(names)
    assert keys.shape == (1000, 2)
    assert len(np.unique(keys, axis=0)) == len(np.unique(keys[:, 0])) == 1000
    np.testing.assert_array_equal(keys_of(names[7:9]), keys[7:9])
    assert keys_of([]).shape == (0, 2)


@pytest.mark.parametrize("half", [0, 1])
def test_keys_that_agree_in_a_half_are_told_apart(half):
    keys = keys_of([f"{number}" for number in range(50)]).copy()
    keys[:, half] = 7
    table = KeyTable.of(keys[:40], np.arange(40))
    assert table.find(keys).tolist() == [*range(40), *[-1] * 10]
    more = table.and_keys(keys[40:], np.arange(40, 50))
    assert more.find(keys[::-1]).tolist() == [*range(50)][::-1]


def test_tables_grow_as_if_they_were_made_at_once():
    keys = keys_of([f"{number}" for number in range(50)])
    table = KeyTable.of(keys[:0], np.zeros(0, np.int64))
    for start in range(0, 50, 7):
        table = table.and_keys(keys[start : start + 7], np.arange(start, min(start + 7, 50)))
    whole = KeyTable.of(keys, np.arange(50))
    np.testing.assert_array_equal(table.first, whole.first)
    np.testing.assert_array_equal(table.second, whole.second)
    np.testing.assert_array_equal(table.rows, whole.rows)
