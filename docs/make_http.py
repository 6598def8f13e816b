"""Writes docs/http.md, the reference of the HTTP API, from the OpenAPI document of `mrnn serve`.

Run it after a change of the API or of an option: .venv/bin/python docs/make_http.py
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.server.limits import Limits
from mrnn.server.openapi import REFUSED, document

FILE = Path(__file__).with_name("http.md")
HEAD = """\
# The HTTP API

<!-- Written by docs/make_http.py from the OpenAPI document; change the texts in
src/mrnn/server/openapi.py, then run it again. -->

What `mrnn serve` answers. [The page and the HTTP API](how-to/serve.md) has examples, and says who
may ask. A running server has the same as `GET /openapi.json` for tools, and at `/docs` for
people. Defaults are those of the model that ships.

Captions are [the objects of `mrnn caption --json`](file-formats.md#captions-by-mrnn-caption).
Finds are those of `mrnn search --json`, with the `id` of a photo. A refusal is a problem document
(RFC 9457), whose `detail` is the line that the command would print:

| status | meaning |
|---|---|
"""
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "maxLength": "at most {} characters",
}

Json = dict[str, Any]


def reference() -> str:
    """The whole page."""
    described = document(Checkpoint.load(DEFAULT_MODEL).config, Limits(), "")
    options = [
        option["name"]
        for option in described["paths"]["/v1/caption"]["post"]["parameters"]
        if option["name"] != "name"
    ]
    parts = [HEAD, *(f"| {code} | {meaning} |\n" for code, meaning in REFUSED.items())]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(f"\n## {method.upper()} {path}\n\n{operation['summary']}.\n")
            parts += _operation(operation, [] if path == "/v1/caption" else options)
    return "".join(parts)


def _operation(operation: Json, known: Sequence[str]) -> Iterator[str]:
    """What a request takes, but for options that are known, and what it gives."""
    if "description" in operation:
        yield f"\n{operation['description']}\n"
    if kinds := operation.get("requestBody", {}).get("content"):
        yield f"\nBody: {', '.join(f'`{kind}`' for kind in kinds)}.\n"
    asked = operation.get("parameters", [])
    if rows := [parameter for parameter in asked if parameter["name"] not in known]:
        yield "\n| parameter | type | default | meaning |\n|---|---|---|---|\n"
        yield from map(_parameter, rows)
    if len(rows) < len(asked):
        yield "\nAlso the options of [POST /v1/caption](#post-v1caption).\n"
    answers = operation["responses"]
    refusals = ", ".join(str(code) for code in sorted(answers) if int(code) in REFUSED)
    given = [said["description"] for code, said in answers.items() if int(code) not in REFUSED]
    yield f"\nAnswer: {', '.join(given)}." + f" Refusals: {refusals}." * bool(refusals) + "\n"


def _parameter(parameter: Json) -> str:
    schema = parameter["schema"]
    bounds = [text.format(schema[key]) for key, text in BOUNDS.items() if key in schema]
    of = schema.get("items", {}).get("type")
    kind = f"list of {of}s" if of else schema["type"]
    if "enum" in schema:
        kind = " or ".join(f"`{value}`" for value in schema["enum"])
    default = schema.get("default")
    meaning = parameter["description"].replace("*", r"\*")
    return (
        f"| `{parameter['name']}` | {', '.join([kind, *bounds])} "
        f"| {default or (0 if default == 0 else '')} | {meaning} |\n"
    )


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
