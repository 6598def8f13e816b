import ast
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import mrnn
from mrnn import errors
from mrnn.__main__ import main

HOMES = {
    "mrnn.captioning.captioner": ["Captioner"],
    "mrnn.captioning.consensus": ["ConsensusOptions"],
    "mrnn.captioning.results": ["Caption", "ImageCaptions", "Word"],
    "mrnn.errors": [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ],
    "mrnn.evaluation.captions": ["score_captions"],
    "mrnn.model.config": ["DecodingOptions", "RerankingOptions"],
    "mrnn.model.tags": ["Tag"],
    "mrnn.retrieval.results": ["SearchResult"],
    "mrnn.retrieval.search": ["PhotoIndex"],
}
HEAVY = {"numpy", "onnxruntime", "PIL", "pydantic", "safetensors", "torch", "typer", "rich"}


def imported_by(code, *arguments):
    """The modules that a fresh Python has after running the code, and its seconds."""
    begin = time.monotonic()
    report = "\nimport sys; print('modules:', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code + report, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    *_, modules = done.stdout.split("modules:")
    return set(modules.split()), time.monotonic() - begin


def test_importing_the_package_is_quick_and_imports_nothing_else():
    modules, seconds = imported_by("import mrnn; dir(mrnn)")
    assert {name for name in modules if name.startswith("mrnn")} == {"mrnn"}
    assert modules & HEAVY == set()
    assert seconds < 2


def test_an_error_is_imported_without_the_rest():
    modules, _ = imported_by("from mrnn import MRNNError, OptionsError")
    assert modules & HEAVY == set()


@pytest.mark.parametrize("name", [name for names in HOMES.values() for name in names])
def test_no_public_name_imports_torch(name):
    if name in HOMES["mrnn.errors"][1:]:
        return  # as the first
    modules, _ = imported_by(f"from mrnn import {name}")
    assert modules & {"torch", "jaxtyping", "beartype", "typer"} == set()


def test_help_needs_neither_torch_nor_numpy():
    code = (
        "import sys\nsys.argv[0] = 'mrnn'\nfrom mrnn.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0"
    )
    for arguments in (["--help"], ["caption", "--help"], ["train", "--help"]):
        modules, _ = imported_by(code, *arguments)
        assert "typer" in modules
        assert modules & {"torch", "numpy", "onnxruntime", "PIL"} == set()


@pytest.mark.parametrize(
    ("home", "name"), [(home, name) for home, names in HOMES.items() for name in names]
)
def test_each_public_name_is_that_of_its_module(home, name):
    found = getattr(mrnn, name)
    assert found is getattr(import_module(home), name)
    assert found.__module__ == home


def test_all_that_is_promised_is_there_and_nothing_else():
    named = ["__version__", *(name for names in HOMES.values() for name in names)]
    assert sorted(mrnn.__all__) == dir(mrnn) == sorted(named)
    assert mrnn.__version__.count(".") == 2


def test_type_checkers_see_each_name_where_it_is():
    """The imports under TYPE_CHECKING are those at run time."""
    tree = ast.parse(Path(mrnn.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    found = {node.module: sorted(name.name for name in node.names) for node in checked.body}
    assert found == {home: sorted(names) for home, names in HOMES.items()}


def test_what_is_not_there():
    with pytest.raises(AttributeError, match=r"^module 'mrnn' has no attribute 'nonsense'$"):
        mrnn.nonsense  # noqa: B018


def test_ctrl_c_while_the_command_starts(monkeypatch, capsys):
    class Interrupted(ModuleType):
        @property
        def main(self):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "mrnn.cli", Interrupted("mrnn.cli"))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "mrnn: interrupted\n"
