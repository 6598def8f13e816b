"""The docs say what is true: their code runs, their commands exist, their lists are complete."""

import json
import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
import typer.main
from PIL import Image

import mrnn
from mrnn.captioning.caption_files.csv_rows import CSV_COLUMNS
from mrnn.captioning.consensus import ConsensusOptions
from mrnn.captioning.results import Caption, ImageCaptions, Word
from mrnn.cli import app
from mrnn.evaluation.captions import GenerationScores
from mrnn.evaluation.evaluate import EvaluationReport
from mrnn.evaluation.retrieval import RetrievalScores
from mrnn.model.config import (
    CheckpointConfig,
    DecodingOptions,
    EncoderIdentity,
    RerankingOptions,
)
from mrnn.model.encoder_classes import TagFile
from mrnn.model.epochs import EpochDone
from mrnn.model.tags import Tag
from mrnn.retrieval.index.config import IndexConfig
from mrnn.retrieval.results import SearchResult
from tests.conftest import COLOURS
from tests.example_photos import ASTRONAUT

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "mrnn"
CARD = SOURCE / "models" / "flickr8k" / "MODEL_CARD.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", CARD, *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PHOTO = re.compile(r"""["']([\w./-]+\.(?:jpg|jpeg|png))["']""")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(language):
    """Every block in a language, named by its page and line: the line, what follows the name of
    the language, the code, and the block of text that follows at once, which is its output.
    """
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start(3)) + 1
                name = f"{page.relative_to(ROOT)}:{line}"
                output = OUTPUT.match(text, match.end())
                yield pytest.param(line, match[2], match[3], output and output[1], id=name)


def commands():
    """Every mrnn command in a block of shell."""
    for block in blocks("sh"):
        text = block.values[2].replace("\\\n", " ")
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            end = next((i for i, word in enumerate(words) if word[0] in "|>&;"), len(words))
            if words[:1] == ["mrnn"]:
                yield pytest.param(words[1:end], id=f"{block.id} {shlex.join(words[1:end])}")


@pytest.fixture
def example_folder(tmp_path, monkeypatch):
    """A working folder with what examples may name: photo.jpg, photos/ and examples/."""
    with Image.open(ASTRONAUT) as image:
        astronaut = image.resize((128, 128))
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        astronaut.save(tmp_path / name)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return astronaut


def outputs():
    """Every block of one mrnn command whose output follows, on the example photos or on walls."""
    for block in blocks("sh"):
        _, _, code, output = block.values
        words = shlex.split(code.replace("\\\n", " "), comments=True)
        shown = words[1] in ("prepare", "check", "extract") or words[2:3] == ["examples/coffee.jpg"]
        if output and words[0] == "mrnn" and "mrnn" not in words[1:] and shown:
            yield pytest.param(words[1:], output, id=f"{block.id} {words[1]}")


@pytest.mark.parametrize(("line", "_", "code", "output"), list(blocks("python")))
def test_python_blocks_run(line, _, code, output, example_folder, request, capsys):
    if "runs/walls" in code:
        Path("runs").mkdir()
        request.getfixturevalue("model_with_heads").rename("runs/walls")
    for name in PHOTO.findall(code):
        if not Path(name).exists():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            example_folder.save(name)
    page = request.node.callspec.id.rpartition(":")[0]
    exec(compile("\n" * (line - 1) + code, str(ROOT / page), "exec"), {"__name__": "__main__"})
    if output:
        assert capsys.readouterr().out == output


@pytest.fixture
def walls(example_folder):
    """The toy set of the page on training: 33 pictures in one colour each."""
    generator = np.random.default_rng(0)
    captions = []
    Path("sources/walls").mkdir(parents=True)
    for split, count in (("train", 24), ("dev", 6), ("test", 3)):
        names = [f"{split}{place:02}.jpg" for place in range(count)]
        Path(f"sources/walls/walls.{split}Images.txt").write_text("\n".join(names))
        for place, name in enumerate(names):
            colour, centre = list(COLOURS.items())[place % 3]
            noise = generator.integers(-25, 25, (120, 160, 3))
            pixels = (np.array(centre) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(Path("photos", name))
            captions += [f"{name}#0\tA {colour} wall .", f"{name}#1\tThe wall is {colour} ."]
    Path("sources/walls/walls.token.txt").write_text("\n".join(captions))


@pytest.mark.parametrize(("arguments", "output"), list(outputs()))
def test_commands_print_what_the_page_says(arguments, output, walls, mrnn):
    if arguments[0] in ("check", "extract"):
        mrnn(*shlex.split("prepare flickr sources/walls --images photos --out data/walls"))
    assert mrnn(*arguments)[:2] == (0, output)


@pytest.mark.parametrize(("line", "file", "code", "_"), list(blocks("py")))
def test_quoted_lines_are_in_their_file(line, file, code, _):
    source = (ROOT / file).read_text(encoding="utf-8")
    whole, quoted = ([text.strip() for text in part.splitlines()] for part in (source, code))
    assert any(whole[i : i + len(quoted)] == quoted for i in range(len(whole))), (
        f"these lines are not in {file}"
    )


@pytest.mark.parametrize("arguments", list(commands()))
def test_commands_parse(arguments):
    group = typer.main.get_command(app)
    try:
        with group.make_context("mrnn", list(arguments)) as context:
            name, command, rest = group.resolve_command(context, list(arguments))
            command.make_context(name, rest, parent=context)
    except typer.Exit:  # --help
        pass


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if ":" not in link:
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_page():
    links = LINK.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages - {*links} == {"index.md", "broad-photos/README.md"}


def anchors(page):
    """What links to the headings of a page end with, as GitHub makes it."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings]


@pytest.mark.parametrize(("line", "_", "code", "output"), list(blocks("json")))
def test_json_blocks_are_json(line, _, code, output):
    content = json.loads(code)
    if "familiarity" in content:
        assert ImageCaptions.model_validate(content).model_dump(mode="json") == content


def test_reference_of_the_command_line_is_what_help_prints():
    reference = runpy.run_path(str(DOCS / "make_cli.py"))["reference"]()
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference, (
        "run: .venv/bin/python docs/make_cli.py"
    )


def test_reference_of_the_http_api_is_what_the_server_says():
    reference = runpy.run_path(str(DOCS / "make_http.py"))["reference"]()
    assert (DOCS / "http.md").read_text(encoding="utf-8") == reference, (
        "run: .venv/bin/python docs/make_http.py"
    )


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert [name for name in mrnn.__all__ if f"`mrnn.{name}`" not in text] == []


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("api.md", DecodingOptions),
        ("api.md", RerankingOptions),
        ("api.md", ConsensusOptions),
        ("api.md", ImageCaptions),
        ("api.md", Caption),
        ("api.md", Word),
        ("api.md", Tag),
        ("file-formats.md", TagFile),
        ("file-formats.md", CheckpointConfig),
        ("file-formats.md", DecodingOptions),
        ("file-formats.md", RerankingOptions),
        ("file-formats.md", EncoderIdentity),
        ("file-formats.md", EpochDone),
        ("file-formats.md", EvaluationReport),
        ("file-formats.md", IndexConfig),
        ("file-formats.md", RetrievalScores),
        ("api.md", SearchResult),
    ],
)
def test_every_field_is_described(page, model):
    text = (DOCS / page).read_text(encoding="utf-8")
    written = [name for name, field in model.model_fields.items() if not field.exclude]
    assert [name for name in written if f"`{name}`" not in text] == []


def test_every_column_and_measure_is_described():
    text = (DOCS / "file-formats.md").read_text(encoding="utf-8")
    names = {*CSV_COLUMNS, *GenerationScores.model_fields} - {"bleu_2", "bleu_3"}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_decoding_defaults_are_those_in_the_reference():
    row = re.compile(r"^\| `(\w+)` \| ([\d.]+|\[\]|\"\") \|", re.MULTILINE)
    rows = row.findall((DOCS / "api.md").read_text(encoding="utf-8"))
    defaults = DecodingOptions().model_dump(mode="json")
    assert {name: json.loads(value) for name, value in rows} == defaults


def test_tree_in_contributing_is_complete():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = next(match[3] for match in BLOCK.finditer(text) if match[1] == "text")
    listed = [line.split()[0] for line in tree.splitlines()]
    folders = tuple(name for name in listed if name.endswith("/"))
    files = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in files if not name.startswith(folders)} == {*listed} - {*folders}
