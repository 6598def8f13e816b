import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.captioning.caption_files import xmp
from mrnn.captioning.caption_files.written_text import Existing
from mrnn.captioning.caption_files.xmp import RDF, described, with_description
from mrnn.errors import DataError

FILE = Path("a.xmp")
DARKTABLE = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- kept -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="uuid:é&quot;1"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmp:Rating='1'
    xmp:Label="line&#10;break &gt; 1">
   <dc:subject><rdf:Bag><rdf:li>a &amp; b</rdf:li></rdf:Bag></dc:subject>{}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
ALT = "<dc:description><rdf:Alt>{}</rdf:Alt></dc:description>"
LI = '<rdf:li xml:lang="{}">{}</rdf:li>'
PROPERTY = {name.partition(":")[2]: space for name, space in xmp.PROPERTIES.items()}


def texts(content, name="description"):
    """The alternatives of a property, by another parser."""
    found = {}
    for item in ET.fromstring(content).iter(f"{{{PROPERTY[name]}}}{name}"):
        for li in item.iter(f"{{{RDF}}}li"):
            found[li.get("{http://www.w3.org/XML/1998/namespace}lang")] = li.text
    return found


def write(before, text="a dog", existing="skip"):
    return with_description(before, text, Existing(existing), FILE)


def test_a_new_sidecar_has_both_properties():
    content = write(None, "a <dog> & a cat")
    for name in PROPERTY:
        assert texts(content, name) == {"x-default": "a <dog> & a cat"}
    assert described(content, FILE) == "a <dog> & a cat"
    assert write(content, "another") == content


def test_what_else_is_in_a_sidecar_stays_byte_for_byte():
    before = DARKTABLE.format("").encode()
    content = write(before)
    start, end = before.split(b" </rdf:RDF>")
    assert content.startswith(start)
    assert content.endswith(b"</rdf:RDF>" + end)
    for name in PROPERTY:
        assert texts(content, name) == {"x-default": "a dog"}
    abouts = {each.get(f"{{{RDF}}}about") for each in ET.fromstring(content)[0]}
    assert abouts == {'uuid:é"1'}


@pytest.mark.parametrize(
    ("there", "existing", "expected"),
    [
        (LI.format("x-default", "mine"), "skip", {"x-default": "mine"}),
        (LI.format("x-default", "mine"), "overwrite", {"x-default": "a dog"}),
        (LI.format("x-default", "mine"), "append", {"x-default": "mine\na dog"}),
        (LI.format("x-default", "a dog"), "append", {"x-default": "a dog"}),
        (LI.format("x-default", " "), "skip", {"x-default": "a dog"}),
        ('<rdf:li xml:lang="x-default"/>', "skip", {"x-default": "a dog"}),
        (LI.format("de", "ein Hund"), "skip", {"de": "ein Hund"}),
        (LI.format("de", "ein Hund"), "overwrite", {"x-default": "a dog", "de": "ein Hund"}),
        (LI.format("de", "ein Hund"), "append", {"x-default": "a dog", "de": "ein Hund"}),
        (
            LI.format("de", "ein Hund") + LI.format("x-default", "mine &lt;1&gt;"), "overwrite",
            {"x-default": "a dog", "de": "ein Hund"},
        ),
        ("", "skip", {"x-default": "a dog"}),
    ],
)  # fmt: skip
def test_a_description_that_is_there(there, existing, expected):
    before = DARKTABLE.format(ALT.format(there)).encode()
    content = write(before, existing=existing)
    assert described(content, FILE) == expected.get("x-default", "ein Hund")
    assert texts(content) == expected
    again = write(content, existing=existing)
    assert again == content
    assert content.startswith(DARKTABLE.encode().partition(b"{}")[0])


@pytest.mark.parametrize(
    "there",
    [
        "<dc:description>mine</dc:description>",
        "<dc:description/>",
        "<dc:description><rdf:Alt/></dc:description>",
        "<dc:description  ><rdf:Bag><rdf:li>mine</rdf:li></rdf:Bag></dc:description >",
    ],
)
def test_a_description_in_another_form_becomes_an_alternative(there):
    content = write(DARKTABLE.format(there).encode(), existing="overwrite")
    assert texts(content)["x-default"] == "a dog"
    assert described(content, FILE) == "a dog"


def test_a_description_that_is_an_attribute():
    before = DARKTABLE.format("").replace("xmp:Rating='1'", "dc:description = 'mine'").encode()
    assert described(before, FILE) == "mine"
    assert write(before, existing="append") != before
    assert texts(write(before, existing="append")) == {"x-default": "mine\na dog"}
    assert b"dc:description =" not in write(before, existing="overwrite")
    assert texts(write(before, existing="skip"), "AltTextAccessibility") == {"x-default": "a dog"}


@pytest.mark.parametrize(
    "before",
    [
        f'<RDF xmlns="{RDF}"><Description/></RDF>',
        f'<r:RDF xmlns:r="{RDF}"/>',
        f'<a:RDF xmlns:a="{RDF}" xmlns:rdf="urn:other"><a:Description rdf:x="1"/></a:RDF>',
        f'<RDF xmlns="{RDF}" xmlns:d="http://purl.org/dc/elements/1.1/"><Description>'
        "<d:description><Alt><li xml:lang='de'>x</li></Alt></d:description></Description></RDF>",
    ],
)
def test_whatever_the_prefixes(before):
    content = write(before.encode(), existing="overwrite")
    for name in PROPERTY:
        assert texts(content, name)["x-default"] == "a dog"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_encoding_is_kept(encoding):
    before = DARKTABLE.format("").replace('encoding="UTF-8"', "").encode(encoding)
    content = write(before)
    assert content[:2] == before[:2]
    assert texts(content) == {"x-default": "a dog"}
    assert "uuid:é" in content.decode(encoding)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no element found, line 1"),
        (b"<a>\n<b></a>", "mismatched tag, line 2"),
        (b"<a/>", "it has no rdf:RDF"),
        (b"\xff<a/>", "not UTF-8"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "it has a document type"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "it has a document type"),
        (b"<a>" * 1001, "more than 1,000 elements"),
        (b" " * (2**20 + 1), "larger than 1 MB"),
        (
            DARKTABLE.format('<dc:description rdf:resource="x"><rdf:Seq/>').encode(),
            "mismatched tag, line 11",
        ),
    ],
)
def test_what_is_no_xmp_is_refused(content, problem, monkeypatch):
    monkeypatch.setattr(xmp, "MOST_ELEMENTS", 1000)
    monkeypatch.setattr(xmp, "LARGEST", 2**20)
    message = rf"^a\.xmp is not XMP that can be changed \({problem}\); repair or move it$"
    with pytest.raises(DataError, match=message):
        write(content)
    with pytest.raises(DataError, match=message):
        described(content, FILE)


def test_text_that_no_xml_holds_is_refused():
    with pytest.raises(DataError, match=r"not well-formed \(invalid token\), line"):
        write(None, "a \x01 dog")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1))
def test_whatever_the_text_it_is_read_back(text):
    text = " ".join(text.split()) or "a dog"
    content = write(DARKTABLE.format("").encode(), text)
    assert described(content, FILE) == text
    assert texts(content) == {"x-default": text}


@given(st.binary(max_size=30), st.integers(0, 900), st.integers(0, 60))
def test_whatever_the_bytes_it_is_xmp_or_refused(noise, start, length):
    before = bytearray(DARKTABLE.format(ALT.format(LI.format("x-default", "mine"))).encode())
    before[start : start + length] = noise
    try:
        content = write(bytes(before), existing="overwrite")
    except DataError:
        return
    assert described(content, FILE) == "a dog"
    ET.fromstring(content)
