"""The OpenAPI document of the API: what /docs shows, and what tools read.

Source: OpenAPI Specification 3.1.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from mrnn.captioning.options import OPTIONS
from mrnn.captioning.results import ImageCaptions
from mrnn.model.config import CheckpointConfig, DecodingOptions, RerankingOptions
from mrnn.retrieval.results import SearchResult
from mrnn.server.limits import MEBIBYTE, Limits
from mrnn.server.options import CONSENSUS, REPEATED
from mrnn.server.photos import LARGEST_SIDE, MOST_FINDS, SMALLEST_SIDE
from mrnn.server.thumbnails import Thumbnails

Json = dict[str, Any]
SCHEMAS = "#/components/schemas/"
PHOTO: Json = {"schema": {"type": "string", "format": "binary"}}
"""A body that is a photo."""
REFUSED = {
    400: "An option or the form is wrong",
    401: "The token is missing or wrong",
    403: "Another host, or another page",
    404: "There is no such photo, or no index",
    408: "The request came too slowly",
    410: "The photo is no longer there",
    413: "The request is too large",
    422: "The photo cannot be read",
    503: "The server is busy; Retry-After says when to try again",
}


def document(config: CheckpointConfig, limits: Limits, version: str) -> Json:
    """For a model's options and a server's limits."""
    options = option_parameters(config)
    most = (
        f"At most {limits.photos} photos and {limits.body // MEBIBYTE} MB, "
        f"{limits.photo // MEBIBYTE} MB a photo."
    )
    paths: Json = {}
    for path, method, operation in (
        *_caption_operations(options, most),
        *_search_operations(),
        *_others(),
    ):
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mrnn",
            "version": version,
            "description": "Captions for photos, and photos for a sentence.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def option_parameters(config: CheckpointConfig) -> list[Json]:
    """The options of `mrnn caption`, with this model's defaults."""
    schemas: Json = {}
    for kind in (DecodingOptions, RerankingOptions):
        schemas |= kind.model_json_schema()["properties"]
    defaults = config.decoding.model_dump(mode="json") | config.reranking.model_dump(mode="json")
    found = []
    for name, about in OPTIONS.items():
        kept = ("type", "items", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
        schema = {key: schemas[name][key] for key in kept if key in schemas[name]}
        found.append(_parameter(name, about, {**schema, "default": defaults[name]}))
        if name in REPEATED:
            found[-1] |= {"style": "form", "explode": True}
    about = "Rerank hypotheses by consensus with each other"
    choice = {"type": "string", "enum": ["self", "none"], "default": "none"}
    return [*found, _parameter(CONSENSUS, about, choice)]


def _caption_operations(options: list[Json], most: str) -> list[tuple[str, str, Json]]:
    name = _parameter("name", "What the photo of a body is called", {"type": "string"})
    form: Json = {
        "schema": {
            "type": "object",
            "properties": {"photo": {"type": "array", "items": PHOTO["schema"]}},
        }
    }
    captions = {
        "application/json": {"schema": {"oneOf": [_ref("ImageCaptions"), _list("ImageCaptions")]}}
    }
    lines = {"application/jsonl": {"schema": {"type": "string"}}}
    body = {"application/octet-stream": PHOTO, "image/*": PHOTO, "multipart/form-data": form}
    return [
        ("/v1/caption", "post", {
            "summary": "Caption photos",
            "description": (
                "A body that is one photo gives one object, a form of photos a list of them, or "
                "with Accept: application/jsonl a line a photo, as it is ready. Each object is "
                "what mrnn caption --json prints, byte for byte. A form's fields are options too. "
                f"In a form, a photo that cannot be read has its line in error. {most}"
            ),
            "parameters": [name, *options],
            "requestBody": {"required": True, "content": body},
            "responses": _answers("Captions", captions | lines, (400, 408, 413, 422, 503)),
        }),
        ("/v1/thumbnail", "post", {
            "summary": "Make a small JPEG of a photo",
            "requestBody": {"required": True, "content": {"application/octet-stream": PHOTO}},
            "responses": _answers("A JPEG", {"image/jpeg": PHOTO}, (400, 408, 413, 422, 503)),
        }),
        ("/v1/photos/{id}/caption", "get", {
            "summary": "Caption a photo of the index",
            "parameters": [_id(), *options],
            "responses": _answers("Captions", _json(_ref("ImageCaptions")), (400, 404, 422, 503)),
        }),
    ]  # fmt: skip


def _search_operations() -> list[tuple[str, str, Json]]:
    top = {"type": "integer", "minimum": 1, "maximum": MOST_FINDS, "default": 10}
    common = [
        _parameter("top", "How many finds", top),
        _parameter("paths", "Only photos whose path is like '*/2024/*'", {"type": "string"}),
        _parameter("min_score", "Only finds with this score or a better one", {"type": "number"}),
    ]
    finds = _json(_ref("Finds"))
    return [
        ("/v1/search", "get", {
            "summary": "Find photos for a sentence, or like a photo of the index",
            "parameters": [
                _parameter("q", "A sentence", {"type": "string"}),
                _parameter("like", "The id of a photo, in place of q", {"type": "string"}),
                *common,
            ],
            "responses": _answers("Finds, best first", finds, (400, 404, 410, 422, 503)),
        }),
        ("/v1/search", "post", {
            "summary": "Find photos like a photo, or sentences for it",
            "parameters": common,
            "requestBody": {"required": True, "content": {"application/octet-stream": PHOTO}},
            "responses": _answers("Finds, best first", finds, (400, 404, 408, 413, 422, 503)),
        }),
        ("/v1/photos/{id}", "get", {
            "summary": "A photo of the index, as its file is",
            "parameters": [_id()],
            "responses": _answers("The file", {"image/*": PHOTO}, (404, 410)),
        }),
        ("/v1/photos/{id}/thumbnail", "get", {
            "summary": "A small JPEG of a photo of the index, upright and without metadata",
            "parameters": [_id(), _parameter("side", "Longest side, in pixels", {
                "type": "integer", "minimum": SMALLEST_SIDE, "maximum": LARGEST_SIDE,
                "default": Thumbnails.side,
            })],
            "responses": _answers("A JPEG", {"image/jpeg": PHOTO}, (400, 404, 410, 422)),
        }),
    ]  # fmt: skip


def _others() -> list[tuple[str, str, Json]]:
    anything = _json({"type": "object"})
    return [
        ("/v1/model", "get", {
            "summary": "The model: card, encoder, vocabulary, defaults, limits, index",
            "responses": _answers("The model", anything, ()),
        }),
        ("/healthz", "get", {
            "summary": "Whether the server works; needs no token",
            "responses": {"200": {"description": "It does", "content": anything}},
        }),
        ("/metrics", "get", {
            "summary": "Counts for Prometheus",
            "responses": _answers("Text", {"text/plain": {"schema": {"type": "string"}}}, ()),
        }),
    ]  # fmt: skip


def _schemas() -> Json:
    schemas: Json = {
        "Find": _with_id(SearchResult),
        "Finds": {
            "type": "object",
            "required": ["results", "notes"],
            "properties": {
                "results": _list("Find"),
                "notes": {"type": "array", "items": {"type": "string"}},
            },
        },
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string", "description": "The line that the command prints"},
                "option": {"type": "string", "description": "The option that is wrong"},
            },
        },
    }
    whole = ImageCaptions.model_json_schema(ref_template=SCHEMAS + "{model}")
    schemas |= whole.pop("$defs")
    return schemas | {"ImageCaptions": whole}


def _with_id(kind: type[BaseModel]) -> Json:
    schema = kind.model_json_schema()
    about = "Of a photo, for /v1/photos"
    schema["properties"]["id"] = {"type": "string", "description": about}
    return schema


def _answers(about: str, content: Json, refused: Sequence[int]) -> Json:
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    answers: Json = {"200": {"description": about, "content": content}}
    for status in sorted({*refused, 401, 403}):
        answers[str(status)] = {"description": REFUSED[status], "content": problem}
    return answers


def _parameter(name: str, about: str, schema: Mapping[str, Any]) -> Json:
    return {"name": name, "in": "query", "description": about, "schema": dict(schema)}


def _id() -> Json:
    about = "The id of a find"
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": about,
        "schema": {"type": "string"},
    }


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": SCHEMAS + name}


def _list(name: str) -> Json:
    return {"type": "array", "items": _ref(name)}
