"""Pages that are written: alone they are whole, and text stays text."""

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.outputs import is_page
from mrnn.pages import breakable, escaped, page


def test_a_page_is_ours_and_loads_nothing():
    text = page("a <b> title", "<p>content</p>", style=".a { color: red }", script="let a = 1;")
    assert is_page(text.encode()[:1000])
    assert "<title>a &lt;b&gt; title</title>" in text
    assert "<h1>a &lt;b&gt; title</h1>" in text
    assert "<p>content</p>" in text
    assert ".a { color: red }" in text
    assert not re.search(r"@import|url\(|https?:|<link", text)


def test_the_policy_allows_the_script_that_is_there_and_no_other():
    digest = base64.b64encode(hashlib.sha256(b"let a = 1;").digest()).decode()
    text = page("title", "", script="let a = 1;")
    assert f"script-src 'sha256-{digest}'; base-uri 'none'" in text
    assert "<script>let a = 1;</script>" in text
    without = page("title", "")
    assert "script-src 'none'; base-uri 'none'" in without
    assert "<script" not in without


def test_the_look_is_that_of_the_servers_page():
    text = page("title", "")
    assert "--accent: #2f5bd0" in text
    assert "@media (prefers-color-scheme: dark)" in text
    assert '<svg width="28" height="28" aria-hidden="true"' in text


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a/b<c>/d.jpg", "/<wbr>a/<wbr>b&lt;c&gt;/<wbr>d.jpg"),
        (r"C:\photos\a.jpg", r"C:\<wbr>photos\<wbr>a.jpg"),
        ("a//b/", "a//<wbr>b/"),
        ("/a/\u202egnp.jpg", r"/<wbr>a/<wbr>\u202egnp.jpg"),
    ],
)
def test_a_path_breaks_after_its_separators(path, shown):
    assert breakable(path) == shown


@given(st.text())
def test_a_path_is_what_it_was_but_for_the_breaks(path):
    assert breakable(path).replace("<wbr>", "") == escaped(path)


@given(st.text())
def test_escaped_text_ends_no_attribute_and_begins_no_element(text):
    assert not set(escaped(text)) & set("<>\"'\x00\x1b\u202e\ud800\n")
