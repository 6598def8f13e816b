"""XMP sidecars: the description and the alternative text of a photo.

dc:description and Iptc4xmpCore:AltTextAccessibility are language alternatives; ours is x-default.
What else is in a sidecar stays byte for byte: the tree only tells which bytes to replace.
Source: XMP specification part 1 (ISO 16684-1:2019), section 7.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from mrnn.captioning.caption_files.written_text import Existing
from mrnn.errors import DataError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PROPERTIES = {
    "dc:description": "http://purl.org/dc/elements/1.1/",
    "Iptc4xmpCore:AltTextAccessibility": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
}
"""The properties that hold the caption, with their namespaces."""
LARGEST, MOST_ELEMENTS = 16 * 2**20, 200_000
"""Bytes of a sidecar, and elements in it."""
_EMPTY = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="mrnn">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
""".encode()
_LANGUAGE = "http://www.w3.org/XML/1998/namespace", "lang"
_BETWEEN = "\f"
"""Stands between the parts of a name; no XML holds it."""
_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


@dataclass
class _Element:
    name: tuple[str, str]
    """Namespace and local name."""
    prefix: str
    attributes: dict[tuple[str, str], tuple[str, str]]
    """The prefix and the value of each."""
    start: int
    """Byte at which its first tag begins; that ends at `inner`, and its content at `close`."""
    inner: int = 0
    close: int = 0
    is_empty: bool = False
    """Whether it is written <a/>."""
    text: str = ""
    children: "list[_Element]" = field(default_factory=list)

    def child(self, name: str) -> "_Element | None":
        """The first child of this name in RDF."""
        return next((each for each in self.children if each.name == (RDF, name)), None)


@dataclass(frozen=True)
class _Property:
    """A property of a photo: an element, or an attribute of `of`; or neither."""

    of: _Element | None = None
    element: _Element | None = None
    attribute: str = ""

    @property
    def text(self) -> str:
        """Of its x-default alternative, or of the first, or of itself."""
        if self.element is None:
            return self.attribute
        alternatives = self.element.child("Alt")
        if alternatives is None:
            return self.element.text.strip()
        ours = _default(alternatives) or alternatives.child("li")
        return ours.text.strip() if ours else ""

    @property
    def is_in_languages_alone(self) -> bool:
        """Whether it has alternatives, but none that is x-default."""
        alternatives = self.element.child("Alt") if self.element else None
        return alternatives is not None and _default(alternatives) is None


def described(content: bytes, file: Path) -> str:
    """The description in a sidecar; empty if there is none. Raises DataError."""
    rdf = _parse(_utf8(content, file)[0], file)
    return _find(rdf, "dc:description").text


def with_description(before: bytes | None, text: str, existing: Existing, file: Path) -> bytes:
    """A sidecar with the text in both properties; `before` is what there is.

    Properties that have a text keep it, have the new one instead, or have it too, on a new line.
    Raises DataError for a sidecar that is damaged.
    """
    content, encoding, mark = _utf8(_EMPTY if before is None else before, file)
    rdf = _parse(content, file)
    edits: list[tuple[int, int, str]] = []
    texts, missing = {}, {}
    for name in PROPERTIES:
        found = _find(rdf, name)
        texts[name] = _new_text(found, text, existing)
        if texts[name] == found.text:
            continue
        if found.element is None:
            missing[name] = texts[name]
            if found.of is not None and found.attribute:
                edits.append(_without_attribute(found.of, name, content))
        else:
            edits.append(_set_text(found.element, texts[name]))
    if missing:
        edits.append(_inserted(rdf, _description(rdf, missing), first=False))
    for start, end, new in sorted(edits, reverse=True):
        content = content[:start] + new.encode() + content[end:]
    written = _parse(content, file)
    if any(_find(written, name).text != texts[name] for name in PROPERTIES):
        _refuse(file, "its description is in a form that is not known")
    return mark + content.decode().encode(encoding)


def _new_text(found: _Property, text: str, existing: Existing) -> str:
    there = found.text
    if there and existing is Existing.skip:
        return there
    if not there or existing is Existing.overwrite or found.is_in_languages_alone:
        return text
    return there if text in there.splitlines() else f"{there}\n{text}"


def _refuse(file: Path, problem: str) -> NoReturn:
    raise DataError(f"{file.name} is not XMP that can be changed ({problem}); repair or move it")


def _utf8(content: bytes, file: Path) -> tuple[bytes, str, bytes]:
    """The content in UTF-8, its own encoding, and its byte order mark."""
    marks = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le"}
    marks[codecs.BOM_UTF16_BE] = "utf-16-be"
    if len(content) > LARGEST:
        _refuse(file, f"larger than {LARGEST // 2**20} MB")
    mark = next((mark for mark in marks if content.startswith(mark)), b"")
    encoding = marks.get(mark, "utf-8")
    try:
        return content[len(mark) :].decode(encoding).encode(), encoding, mark
    except UnicodeDecodeError:
        _refuse(file, f"not {encoding.upper()}")


def _parse(content: bytes, file: Path) -> _Element:
    """The rdf:RDF in a sidecar. Raises DataError, for a document type too, which makes entities."""
    parser = expat.ParserCreate("utf-8", _BETWEEN)
    parser.namespace_prefixes = True
    parser.buffer_text = True
    top = _Element(("", ""), "", {}, 0)
    opened, count = [top], 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS:
            _refuse(file, f"more than {MOST_ELEMENTS:,} elements")
        own, prefix = _name(name)
        named = {_name(key): value for key, value in attributes.items()}
        pairs = {key: (before, value) for (key, before), value in named.items()}
        element = _Element(own, prefix, pairs, parser.CurrentByteIndex)
        tag = _TAG.match(content, element.start)
        element.inner = tag.end() if tag else element.start
        element.is_empty = tag is not None and tag[0].endswith(b"/>")
        opened[-1].children.append(element)
        opened.append(element)

    def end(_: str) -> None:
        opened.pop().close = parser.CurrentByteIndex

    def characters(text: str) -> None:
        opened[-1].text += text

    def doctype(*_: object) -> None:
        _refuse(file, "it has a document type")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        _refuse(file, f"{expat.ErrorString(error.code)}, line {error.lineno}")
    roots = [*top.children, *(each for root in top.children for each in root.children)]
    rdf = next((each for each in roots if each.name == (RDF, "RDF")), None)
    return rdf or _refuse(file, "it has no rdf:RDF")


def _name(name: str) -> tuple[tuple[str, str], str]:
    """Namespace and local name, then the prefix, which may be lacking."""
    space, local, prefix = [*name.split(_BETWEEN), ""][:3] if _BETWEEN in name else ("", name, "")
    return (space, local), prefix


def _descriptions(rdf: _Element) -> Iterator[_Element]:
    return (each for each in rdf.children if each.name == (RDF, "Description"))


def _find(rdf: _Element, name: str) -> _Property:
    key = PROPERTIES[name], name.partition(":")[2]
    for description in _descriptions(rdf):
        for element in description.children:
            if element.name == key:
                return _Property(description, element)
        if key in description.attributes:
            return _Property(description, None, description.attributes[key][1])
    return _Property()


def _default(alternatives: _Element) -> _Element | None:
    """The li for every language."""
    for each in alternatives.children:
        language = each.attributes.get(_LANGUAGE, ("", ""))[1]
        if each.name == (RDF, "li") and language == "x-default":
            return each
    return None


def _tag(prefix: str, name: str) -> str:
    return f"{prefix}:{name}" if prefix else name


def _set_text(element: _Element, text: str) -> tuple[int, int, str]:
    """What to replace so that the x-default alternative of a property is this text."""
    alternatives = element.child("Alt")
    if alternatives is None:
        inner = f'<rdf:Alt xmlns:rdf="{RDF}">{_li("rdf", text)}</rdf:Alt>'
        return _inserted(element, inner, first=None)
    ours = _default(alternatives)
    if ours is None:
        return _inserted(alternatives, _li(alternatives.prefix, text), first=True)
    return _inserted(ours, escape(text), first=None)


def _li(prefix: str, text: str) -> str:
    tag = _tag(prefix, "li")
    return f'<{tag} xml:lang="x-default">{escape(text)}</{tag}>'


def _inserted(element: _Element, inner: str, *, first: bool | None) -> tuple[int, int, str]:
    """What to replace so that an element has `inner` first, last, or (None) instead of all else."""
    if element.is_empty:
        tag = _tag(element.prefix, element.name[1])
        return element.inner - 2, element.inner, f">{inner}</{tag}>"
    if first is None:
        return element.inner, element.close, inner
    place = element.inner if first else element.close
    return place, place, inner


def _without_attribute(element: _Element, name: str, content: bytes) -> tuple[int, int, str]:
    key = PROPERTIES[name], name.partition(":")[2]
    written = _tag(element.attributes[key][0], key[1]).encode()
    for match in _ATTRIBUTE.finditer(content, element.start, element.inner):
        if match[1] == written:
            return match.start(), match.end(), ""
    return element.start, element.start, ""


def _description(rdf: _Element, texts: dict[str, str]) -> str:
    """An rdf:Description of the same photo, with properties that are missing."""
    first = next(_descriptions(rdf), None)
    about = first.attributes.get((RDF, "about"), ("", ""))[1] if first else ""
    spaces = "".join(f'\n    xmlns:{name.partition(":")[0]}="{PROPERTIES[name]}"' for name in texts)
    inner = "".join(
        f"   <{name}>\n    <rdf:Alt>\n     {_li('rdf', text)}\n    </rdf:Alt>\n   </{name}>\n"
        for name, text in texts.items()
    )
    return (
        f' <rdf:Description rdf:about={quoteattr(about)}\n    xmlns:rdf="{RDF}"{spaces}>\n'
        f"{inner}  </rdf:Description>\n "
    )
