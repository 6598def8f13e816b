"""The commands that write, and the world in which they run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mrnn.cli import app
from tests.cli.conftest import REFERENCES, A


@dataclass(frozen=True)
class Command:
    """A command line in the world, and what it writes there."""

    line: str
    outputs: tuple[str, ...]
    before: tuple[str, ...] = ()
    """Command lines that come before."""
    again: str = ""
    """What an interrupted one is run with to go on, beside its line."""
    parts: bool = False
    """Whether a part of the outputs may be there after an interruption, to go on from."""
    together: bool = True
    """Whether its files count together; otherwise each is whole or absent by itself."""

    @property
    def arguments(self) -> list[str]:
        """As the shell gives them."""
        return self.line.split()


COMMANDS = {
    "caption csv": Command(
        "caption photos --model model --n-best 2 --out out.csv", ("out.csv",), parts=True
    ),
    "caption jsonl": Command(
        "caption photos --model model --out out.jsonl", ("out.jsonl",), parts=True
    ),
    "caption sidecar": Command("caption photos --model model --sidecar", ("photos",), parts=True),
    "caption xmp": Command("caption photos --model model --xmp", ("photos",), parts=True),
    "caption metadata": Command(
        "caption photos --model model --out metadata.jsonl", ("metadata.jsonl",), parts=True
    ),
    "shard": Command("shard photos --out shards --size 10", ("shards",), parts=True),
    "caption shards": Command(
        "caption shards/*.tar --model model --out captions", ("captions",),
        before=("shard photos --out shards --size 10",), parts=True,
    ),
    "embed": Command(
        "embed shards/*.tar --model model --out vectors", ("vectors",),
        before=("shard photos --out shards --size 10",), parts=True,
    ),
    "prepare": Command(
        "prepare table table.csv --images photos --out made --fractions 0.6 0.2 0.2", ("made",)
    ),
    "prepare again": Command(
        "prepare table table.csv --images photos --out made --fractions 0.6 0.2 0.2", ("made",),
        before=("prepare table table.csv --images photos --out made --fractions 0.8 0.1 0.1",),
    ),
    "extract": Command("extract data --encoder colour", ("data",), parts=True),
    "index": Command("index photos --model model --out index", ("index",), parts=True),
    "train": Command(
        "train colours.toml --data data --out run --set training.epochs=2", ("run",),
        before=("extract data --encoder colour",), again="--resume", parts=True,
    ),
    "train-heads": Command(
        "train-heads model --data data --steps 3", ("model",),
        before=("extract data --encoder colour",), parts=True,
    ),
    "export": Command("export model --out bundle", ("bundle",)),
    "evaluate": Command(
        "evaluate model --data data --split dev --task generation --no-meteor "
        "--coco-results c.json",
        ("c.json",), before=("extract data --encoder colour",),
    ),
    "score": Command(
        "score a.json r.json --no-meteor --per-image p.csv --save-frequencies f.json",
        ("p.csv", "f.json"), together=False,
    ),
    "report": Command(
        "report model --data data --split dev --no-meteor --out page.html", ("page.html",),
        before=("extract data --encoder colour",),
    ),
    "search": Command(
        "search index wall --html found.html", ("found.html",),
        before=("index photos --model model --out index",),
    ),
}  # fmt: skip
READS = {"demo", "check", "compare", "rerank", "doctor"}
"""The verbs that write nothing but what they print."""
ELSEWHERE = {"export-encoder", "fine-tune", "watch", "serve"}
"""Take long, or until they are stopped; they have tests of their own."""


def write_files(folder: Path, recipe: Path) -> None:
    """Beside photos, dataset and model: captions, a table and a recipe."""
    (folder / "a.json").write_text(json.dumps(A))
    (folder / "r.json").write_text(json.dumps(REFERENCES))
    rows = [f"{path.name},A wall of {path.stem}" for path in sorted((folder / "photos").iterdir())]
    (folder / "table.csv").write_text("\n".join(["image,caption", *rows]) + "\n")
    (folder / "colours.toml").write_bytes(recipe.read_bytes())


def verbs() -> Sequence[str]:
    """Of the command line."""
    return [
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
    ]
