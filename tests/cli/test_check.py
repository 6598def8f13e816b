"""`mrnn check`."""

from mrnn.cli.check import _wrapped


def test_check_fails_on_errors(mrnn, colours):
    colours.images[0].path.write_bytes(b"")
    code, out, _ = mrnn("check", colours.folder)
    assert code == 1
    assert "error: images of train broken (1)" in out


def test_lines_are_as_wide_as_the_terminal(monkeypatch):
    line = "  photo.jpg: damaged or cut short (a long reason); copy the photo again"
    assert _wrapped(line) == line
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    assert _wrapped(line).split("\n") == [
        "  photo.jpg: damaged or cut short (a",
        "      long reason); copy the photo again",
    ]


def test_all_broken_photos_may_be_listed(mrnn, colours):
    for image in colours.images[:7]:
        image.path.unlink()
    code, out, err = mrnn("check", colours.folder)
    assert code == 1
    assert "error: images of train missing (7):\n" in out
    assert "\n  and 2 more\n" in out
    assert "--broken FILE lists all missing and broken photos" in err
