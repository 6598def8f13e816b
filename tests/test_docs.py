"""The docs say what is true: their code runs, their commands exist, their lists are complete."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
import typer.main
from PIL import Image

import mrnn
from mrnn.captioning.caption_writer import CSV_COLUMNS
from mrnn.captioning.results import Caption, ImageCaptions, Word
from mrnn.cli import app
from mrnn.evaluation.captions import GenerationScores
from mrnn.evaluation.evaluate import EvaluationReport
from mrnn.evaluation.retrieval import RetrievalScores
from mrnn.model.checkpoint import DEFAULT_MODEL, WEIGHTS, CheckpointConfig
from mrnn.model.config import DecodingOptions, EncoderIdentity
from mrnn.retrieval.index import IndexConfig
from mrnn.retrieval.search import SearchResult
from mrnn.training.events import EpochDone
from tests.example_photos import ASTRONAUT

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "mrnn"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SHIPPED = "Captioner.load()"  # a block with this needs the model that ships
BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PHOTO = re.compile(r"""["']([\w./-]+\.(?:jpg|jpeg|png))["']""")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(language):
    """Every block in a language, named by its page and line: the line, what follows the name of
    the language, and the code.
    """
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start(3)) + 1
                name = f"{page.relative_to(ROOT)}:{line}"
                yield pytest.param(line, match[2], match[3], id=name)


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
def example_folder(tmp_path, monkeypatch, model_with_heads):
    """A folder with what examples may name: photo.jpg, photos/ and a trained model, runs/walls."""
    with Image.open(ASTRONAUT) as image:
        astronaut = image.resize((128, 128))
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        astronaut.save(tmp_path / name)
    (tmp_path / "runs").mkdir()
    model_with_heads.rename(tmp_path / "runs" / "walls")
    monkeypatch.chdir(tmp_path)
    return astronaut


@pytest.mark.parametrize(("line", "_", "code"), list(blocks("python")))
def test_python_blocks_run(line, _, code, example_folder, request):
    if SHIPPED in code and not (DEFAULT_MODEL / WEIGHTS).exists():
        pytest.skip(f"needs the model that ships, and {DEFAULT_MODEL / WEIGHTS} is not there")
    for name in PHOTO.findall(code):
        if not Path(name).is_absolute():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            example_folder.save(name)
    page = request.node.callspec.id.rpartition(":")[0]
    exec(compile("\n" * (line - 1) + code, str(ROOT / page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(("line", "file", "code"), list(blocks("py")))
def test_quoted_lines_are_in_their_file(line, file, code):
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
def test_links_lead_to_files(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    targets = [link.partition("#")[0] for link in LINK.findall(text) if ":" not in link]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    assert not missing


def test_reference_of_the_command_line_is_what_help_prints():
    reference = runpy.run_path(str(DOCS / "make_cli.py"))["reference"]()
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference, (
        "run: .venv/bin/python docs/make_cli.py"
    )


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert [name for name in mrnn.__all__ if f"`mrnn.{name}`" not in text] == []


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("api.md", DecodingOptions),
        ("api.md", ImageCaptions),
        ("api.md", Caption),
        ("api.md", Word),
        ("file-formats.md", CheckpointConfig),
        ("file-formats.md", DecodingOptions),
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
