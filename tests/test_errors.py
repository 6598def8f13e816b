import errno

import pytest

from mrnn.errors import LONG, LONGEST, DataError, MRNNError, counted, naming, printable, shortened


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("é 🐕 👩‍🚀.jpg", "é 🐕 👩‍🚀.jpg"),
        ("a\x1b]0;title\x07\n.jpg", r"a\x1b]0;title\x07\n.jpg"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("caf\udce9\x9b\u2028\ufeff", r"caf\udce9\x9b\u2028\ufeff"),
        (3, "3"),
    ],
)
def test_what_steers_a_terminal_is_escaped(name, told):
    assert printable(name) == told


def test_a_message_is_one_short_printable_line():
    told = str(DataError("file\n: the word " + "x" * 1_000_000 + "\x1b is unknown; mend it"))
    assert told.startswith(r"file\n: the word xxx")
    assert told.endswith(r"x\x1b is unknown; mend it")
    assert len(told) < LONG
    assert len(str(DataError("many words " * 99))) == LONGEST
    assert str(MRNNError("short")) == "short"


@pytest.mark.parametrize("length", [10, 11, 200])
def test_a_text_is_shortened_in_the_middle(length):
    text = "".join(map(str, range(100)))
    short = shortened(text, length)
    assert len(short) == min(length, len(text)) if length < len(text) else short == text
    assert (text[0], text[-1]) == (short[0], short[-1])


def test_a_write_that_fails_tells_the_file(tmp_path, limited):
    file = tmp_path / "log.txt"
    with (
        pytest.raises(OSError, match=r"File too large: '.*log\.txt'") as caught,
        naming(file), limited(100),
    ):  # fmt: skip
        file.write_bytes(bytes(200))
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(FileNotFoundError) as caught, naming(file):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")
    with pytest.raises(OSError, match="3 requested and 2 written") as caught, naming(file):
        raise OSError("3 requested and 2 written")  # as numpy does
    assert caught.value.filename == str(file)


def test_numbers_with_their_nouns():
    assert counted(1, "photo") == "1 photo"
    assert [counted(number, "photo") for number in (0, 2000)] == ["0 photos", "2,000 photos"]
    assert counted(1, "shard is", "shards are") == "1 shard is"
    assert counted(2, "shard is", "shards are") == "2 shards are"
