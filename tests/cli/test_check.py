"""`mrnn check`."""


def test_check_fails_on_errors(mrnn, colours):
    colours.images[0].path.write_bytes(b"")
    code, out, _ = mrnn("check", colours.folder)
    assert code == 1
    assert "error: images of train broken (1)" in out
