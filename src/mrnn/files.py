"""Files that are read: text, JSON and TOML, with the number of the line that is wrong.

Nothing but a DataError comes out of them, however deep, long or damaged a file is.
"""

import codecs
import gzip
import json
import re
import stat
import tomllib
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mrnn.errors import DataError, printable

LARGEST = 4 * 2**30
"""Bytes of a text file, unpacked."""
PART = 2**20
"""Bytes read at a time."""
LARGEST_TOML = 2**20
"""Bytes of a TOML file."""
LARGEST_OWN = 256 * 2**20
"""Bytes of a text file that mrnn itself writes."""
_SHORT = {"missing": "is missing", "extra_forbidden": "is unknown"}
_UNION_TAGS = {"int", "str", "float", "bool", "constrained-str", "constrained-int"}
_EXPECTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
    "model": "an object",
    "dataclass": "an object",
    "none_required": "null",
}
"""By how the types of pydantic's errors begin."""
_LINE = re.compile(r" at line (\d+)(?= column \d+$)")
Form = TypeVar("Form", bound=BaseModel)


def read_text(file: Path) -> str:
    r"""The text, its lines ended by \n; that of a .gz file is unpacked. Raises DataError.

    UTF-8, or UTF-16 with its mark, as spreadsheets save it.
    """
    return decode_text(_read(file), file)


def decode_text(content: bytes, where: object) -> str:
    r"""As `read_text`, of bytes at hand; `where` names them in messages."""
    coding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
    try:
        text = content.decode(coding or "utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{where}:{number}: not UTF-8; save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _read(file: Path) -> bytes:
    opened = gzip.open if file.suffix.lower() == ".gz" else open
    try:
        with opened(file, "rb") as stream:
            content = _at_most(stream, LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: not a whole .gz file ({error}); copy or pack it again") from None
    except IsADirectoryError:
        raise DataError(f"{file}: a folder, not a file; name a file in it") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (ValueError, MemoryError) as error:  # a NUL in the name; more than memory holds
        raise DataError(f"{file!s}: cannot be read ({error or 'too large'})") from None
    if len(content) > LARGEST:
        raise DataError(f"{file}: larger than {LARGEST / 2**30:g} GB; cut it into several files")
    return content


def _at_most(stream: BufferedIOBase, count: int) -> bytes:
    """The first so many bytes; no more memory is asked for than there are."""
    parts, size = [], 0
    while size < count and (part := stream.read(min(PART, count - size))):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def read_plain(file: Path, largest: int = LARGEST_OWN) -> bytes:
    """The bytes of a file of our own: not of a pipe or device, which may never end.

    Raises DataError, also for a file of more than `largest` bytes.
    """
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
            raise DataError(f"{file}: {what}, not a file")
        with file.open("rb") as stream:
            content = _at_most(stream, largest + 1)
    except FileNotFoundError:
        raise DataError(f"{file}: is missing") from None
    except (OSError, ValueError, MemoryError) as error:
        problem = getattr(error, "strerror", None) or error or "more than memory holds"
        raise DataError(f"{file}: cannot be read ({problem})") from None
    if len(content) > largest:
        raise DataError(
            f"{file}: larger than {largest / 1e6:,.0f} MB, which no file of this kind is"
        )
    return content


def read_form(file: Path, form: type[Form], version: int, mend: str, renew: str) -> Form:
    """A JSON file of our own, in the form that goes with its `format` number. Raises DataError.

    The number is checked first; no key may be there twice. The message ends with what mends a
    damaged file, or with what makes one of another format anew.
    """
    try:
        text = decode_text(read_plain(file), file)
        content = parse_json(text, file, unique_keys=True)
    except DataError as error:
        raise DataError(f"{error}; {mend}") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != version or type(found) is not int:
        problem = f"format {found!r:.40}; this version of mrnn reads {version}"
        raise DataError(f"{file}: {problem}; upgrade mrnn, or {renew}")
    try:
        return form.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise DataError(f"{file}: {first_problem(error)}; {mend}") from None


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            yield number, line


def read_json(file: Path, form: type[Form]) -> Form:
    """A JSON file of a known form. Raises DataError with the line, or the place in the form."""
    try:
        return form.model_validate_json(read_text(file), strict=True)
    except ValidationError as error:
        raise DataError(f"{file}:{line_of(error)} {first_problem(error)}") from None


def read_json_lines(file: Path) -> Iterator[tuple[int, Any]]:
    """The value in each line that is not blank, after its number. Raises DataError."""
    for number, line in read_lines(file):
        yield number, parse_json(line, f"{file}:{number}", is_line=True)


def parse_json(
    content: str | bytes, where: object, *, unique_keys: bool = False, is_line: bool = False
) -> Any:  # noqa: ANN401 (of any form)
    """JSON of any form, without NaN and infinities. Raises DataError; `where` names it.

    With `unique_keys` an object that has a key twice is refused; else the last one counts. `where`
    names the line too if the content `is_line`.
    """
    text = decode_text(content, where) if isinstance(content, bytes) else content
    pairs = _without_twins if unique_keys else None
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg} at column {error.colno})"
        at = where if is_line else f"{where}:{error.lineno}"
        raise DataError(f"{at}: {problem}") from None
    except RecursionError:
        raise DataError(f"{where}: not JSON that is used here: nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits, NaN
        raise DataError(f"{where}: not JSON that is used here ({error!s:.80})") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {key!r:.40} is there twice")
    return content


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def read_toml(file: Path) -> dict[str, Any]:
    """A TOML file. Raises DataError."""
    return parse_toml(decode_text(read_plain(file, LARGEST_TOML), file), file)


def parse_toml(text: str, where: object) -> dict[str, Any]:
    """TOML; `where` names it. Raises DataError."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise DataError(f"{where}: nested too deeply for TOML that is used here") from None
    except ValueError as error:  # also a number of thousands of digits
        raise DataError(f"{where}: not TOML ({error!s:.120})") from None


def first_problem(error: ValidationError) -> str:
    """The first thing wrong, with its place and value; of broken JSON, its place in the line."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    if problem["type"] == "json_invalid":
        reason = _LINE.sub(" at", problem["msg"]).removeprefix("Invalid JSON: ")
        return f"not JSON ({reason})"
    keys, kinds = problem["loc"], [problem]
    if len(keys) > 1 and keys[-1] in _UNION_TAGS:  # a value that may be of several types
        keys = keys[:-1]
        kinds = [each for each in problems if each["loc"][:-1] == keys]
    place, told = _place(keys), in_plain_words(*kinds)
    return f"{place}{' ' if told.startswith('is ') else ': '}{told}" if place else told


def in_plain_words(*problems: ErrorDetails) -> str:
    """What pydantic found in one place: what was expected, and what is there."""
    problem = problems[0]
    if problem["type"] in _SHORT:
        return _SHORT[problem["type"]]
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    expected = " or ".join(dict.fromkeys(map(_expected, problems)))
    return f"expected {expected}, not {printable(repr(problem['input'])):.80}"


def _place(keys: tuple[int | str, ...]) -> str:
    """Where in a form, as annotations[3].image_id."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{printable(key)}" for key in keys)
    return f"{text.removeprefix('.'):.100}"


def _expected(problem: ErrorDetails) -> str:
    """Plain words for what pydantic expected."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return str(context["expected"])
    if kind == "string_pattern_mismatch":
        return f"text of the form {context['pattern']}"
    name = next((name for name in _EXPECTED if kind.startswith(f"{name}_") or kind == name), None)
    if name and kind not in ("string_too_short", "string_too_long"):
        return _EXPECTED[name]
    message = re.sub(r"^(?:Input|Value|\w+) should (?:be |have )?", "", problem["msg"])
    return f"{message[:1].lower()}{message[1:]}"


def line_of(error: ValidationError) -> str:
    """Where JSON is broken, as "7:"; nothing if it is whole."""
    problem = error.errors()[0]
    line = _LINE.search(problem["msg"]) if problem["type"] == "json_invalid" else None
    return f"{line[1]}:" if line else ""
