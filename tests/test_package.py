import subprocess
import sys
import time
from types import ModuleType

import pytest

import mrnn
from mrnn.__main__ import main


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


def test_importing_the_package_is_quick_and_needs_no_torch():
    modules, seconds = imported_by("import mrnn")
    assert "mrnn" in modules
    assert modules & {"torch", "numpy", "pydantic", "PIL", "typer"} == set()
    assert seconds < 2


def test_help_needs_neither_torch_nor_numpy():
    code = (
        "import sys\nsys.argv[0] = 'mrnn'\nfrom mrnn.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0"
    )
    for arguments in (["--help"], ["caption", "--help"], ["train", "--help"]):
        modules, _ = imported_by(code, *arguments)
        assert "typer" in modules
        assert modules & {"torch", "numpy", "PIL"} == set()


def test_all_that_is_promised_is_there():
    assert mrnn.__all__ == ["Captioner", "__version__"]
    for name in mrnn.__all__:
        assert getattr(mrnn, name)
    from mrnn.captioning.captioner import Captioner

    assert mrnn.Captioner is Captioner
    assert mrnn.__version__.count(".") == 2


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
