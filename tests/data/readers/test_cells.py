import gzip

import pytest

from mrnn.data.readers.cells import read_divided
from mrnn.errors import DataError

HEADER = "image,caption\n"


@pytest.fixture
def read(tmp_path):
    def read(text, name="t.csv", **options):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        notes = []
        rows = [
            (n, *row.values()) for n, row in read_divided(tmp_path / name, notes=notes, **options)
        ]
        return rows, [note.removeprefix(f"{tmp_path}/{name}") for note in notes]

    return read


@pytest.mark.parametrize(
    ("text", "name", "note"),
    [
        ("image,caption\na,b\n", "t.csv", []),
        ("image;caption\na;b\n", "t.csv", [": cells are divided by semicolons"]),
        ("image\tcaption\na\tb\n", "t.csv", [": cells are divided by tabs"]),
        ("image\tcaption\na\tb\n", "t.tsv", []),
        ("image,caption\na,b\n", "t.tsv", [": cells are divided by commas"]),
        ("image| caption \n a | b\n", "t.txt", [": cells are divided by bars"]),
        ("sep=;\nimage;caption\na;b\n", "t.csv", []),
        ('"sep=;"\nimage;caption\na;b\n', "t.csv", []),
        ("image;caption;;\na;b;;\n", "t.csv", [": cells are divided by semicolons"]),
        ("image,caption\na,b,,\n", "t.csv", []),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_header_shows_the_delimiter(read, text, name, note, end, coding):
    content = text.replace("\n", end).encode(coding)
    rows, notes = read(content, name)
    assert [row[1:] for row in rows] == [("a", "b")]
    assert notes == note
    assert read(gzip.compress(content), f"{name}.gz")[0] == rows


def test_columns_that_we_know_decide_between_delimiters(read):
    assert read("image;caption, in German, too\na;b\n")[0] == [(2, "a", "b")]
    assert read("caption\na, b\n")[0] == [(2, "a, b")]


def test_a_delimiter_that_is_named(read):
    assert read("image#caption\na#b\n", delimiter="#") == ([(2, "a", "b")], [])
    assert read("a;b,c\n1;2,3\n", delimiter=",")[0] == [(2, "1;2", "3")]


KAGGLE = "image_name| comment_number| comment\na.jpg| 3| A cat .\n"


def test_the_row_of_flickr30k_that_lacks_a_bar(read):
    rows, notes = read(f"{KAGGLE}b.jpg| 4   A dog runs .\na.jpg| 5   No .\nb.jpg| 5| Yes .\n")
    assert rows[1:] == [(3, "b.jpg", "4", "A dog runs ."), (4, "a.jpg", "5", "No ."),
                        (5, "b.jpg", "5", "Yes .")]  # fmt: skip
    assert notes[1] == (
        ":3: 2 cells, but 3 in the header; read as: b.jpg | 4 | A dog runs .; and 1 more such lines"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{KAGGLE}b.jpg| A dog .\n", "3: 2 cells, but 3 .*, comment; divided by bars.; mend the"),
        ("image,n,caption\na,b,c\nd,4 dogs\n", "3: 2 cells, but 3"),  # no column of numbers
        ("image,n,caption\na,4 dogs\n", "2: 2 cells, but 3"),  # it may be, but nothing says so
        ("image,caption\na\n", "2: 1 cell, but 2"),
        ("a,b\n1,2,3\n", "2: 3 cells, but 2"),
        ("a#b\n1#2#3\n", '2: 3 cells, but 2 .*divided by "#"'),
        ("a,b,a\n1,2,3\n", '1: two columns "a"; rename one'),
        (f"image,caption\na,{'x' * 200_000}\n", "2: a line of 200,002 characters; a caption is"),
    ],
)
def test_a_row_with_no_clear_reading_is_refused(read, text, problem):
    with pytest.raises(DataError, match=rf"t\.csv:{problem}"):
        read(text, delimiter="#" if "#" in text else None)


def test_commas_that_nothing_quotes_belong_to_the_caption(read):
    rows, notes = read("image,caption,split\na.jpg,A dog, a cat,and, a cow,train\n")
    assert rows == [(2, "a.jpg", "A dog, a cat, and, a cow", "train")]
    assert notes == [
        ":2: 6 cells, but 3 in the header; read as: a.jpg | A dog, a cat, and, a cow | train"
    ]
    assert read("image,said\na,b, c\n", caption_column="said")[0] == [(2, "a", "b, c")]


@pytest.mark.parametrize(
    ("line", "caption"),
    [
        ('a.jpg,"A ""stop"" sign, red"', 'A "stop" sign, red'),
        ('a.jpg, "A sign, red"', "A sign, red"),
        ('a.jpg,A "stop" sign', 'A "stop" sign'),
        ('a.jpg,"Stop" says the sign', '"Stop" says the sign'),
        ('a.jpg,"Stop" says it, in red', '"Stop" says it, in red'),
        ('a.jpg,"A dog', '"A dog'),
        ('a.jpg,"A dog\nruns, fast"', "A dog\nruns, fast"),
    ],
)
@pytest.mark.parametrize("after", ["", "b.jpg,A cat\n", 'b.jpg,A "cat"\n', 'b.jpg,A cat"\n'])
def test_quotation_marks(read, line, caption, after):
    rows, _ = read(f"{HEADER}z.jpg,Z\n{line}\n{after}")
    assert rows[0] == (2, "z.jpg", "Z")
    assert rows[1][1:] == ("a.jpg", caption)
    assert [row[1] for row in rows[2:]] == ["b.jpg"] * bool(after)  # swallowed by no quotation mark


def test_lines_that_are_not_csv_are_counted(read):
    _, notes = read(f'{HEADER}a.jpg,"Go" it says\nb.jpg,B\nc.jpg,"Go" again\n')
    assert notes == [
        ':2: not quoted as CSV, so read as it stands: a.jpg,"Go" it says; and 1 more such lines'
    ]


def test_quotation_marks_of_a_tsv_are_marks_like_others(read):
    assert read('image\tcaption\na\t"A" b "c"\n', "t.tsv") == ([(2, "a", '"A" b "c"')], [])


def test_cells_that_were_kept_from_running(read):
    assert read(f"{HEADER}'=a.jpg,'-x\n'a.jpg,'b\n")[0] == [
        (2, "=a.jpg", "-x"),
        (3, "'a.jpg", "'b"),
    ]


@pytest.mark.parametrize("text", ["", "\n \n", "image,caption\n", "sep=;", "sep=;\n"])
def test_no_rows(read, text):
    assert read(text) == ([], [])
