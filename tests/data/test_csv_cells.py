import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.csv_cells import as_cell, from_cell


@pytest.mark.parametrize("sign", [*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_what_a_spreadsheet_would_run_is_text(sign):
    assert as_cell(f"{sign}1+1") == f"'{sign}1+1"
    assert from_cell(f"'{sign}1+1") == f"{sign}1+1"


@pytest.mark.parametrize("text", ["", "a=b", "'", "'a'", "a dog", "''", " =1"])
def test_other_text_is_as_it_is(text):
    assert as_cell(text) == from_cell(text) == text


@given(st.text("'=+-@\ta "))
def test_every_text_is_read_back(text):
    assert from_cell(as_cell(text)) == text
    assert not as_cell(text).startswith(("=", "+", "-", "@", "\t"))
