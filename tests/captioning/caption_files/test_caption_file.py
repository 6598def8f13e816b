import codecs
import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.captioning.caption_files.caption_file import CaptionFile
from mrnn.captioning.caption_files.csv_rows import CSV_COLUMNS
from mrnn.captioning.caption_files.written_text import WrittenText
from mrnn.captioning.results import ImageCaptions
from mrnn.data.csv_cells import as_cell
from mrnn.data.photos.names import name_as_text
from mrnn.errors import OptionsError
from tests.captioning.photo_results import result

NAMES = [
    "plain.jpg",
    'with "quotes", commas.jpg',
    "emoji 🐕 é.jpg",
    "new\nline.jpg",
    "\rreturn.jpg",
    "odd\u2028\u0085separators.jpg",
    "image",
]


RESULTS = [*map(result, NAMES[:3]), ImageCaptions(image="bad.jpg", error='no, "such" file')]
RESULTS += [*map(result, NAMES[3:])]


GOOD = [one for one in RESULTS if not one.error]


def write(path, results=RESULTS):
    """As `mrnn caption --out` does: what is not there yet."""
    file = CaptionFile(path, n_best=2)
    for one in results:
        if one.image not in file:
            file.write(one)
    return path.read_bytes()


def done(path):
    """The photos of `RESULTS` that are in a file, of no others."""
    file = CaptionFile(path, n_best=2)
    names = {one.image for one in RESULTS if one.image in file}
    assert len(file) == len(names)
    return names


@pytest.fixture(params=[".jsonl", ".csv"])
def path(request, tmp_path):
    return tmp_path / f"captions{request.param}"


# What is written


def test_json_lines_are_the_results(tmp_path):
    content = write(tmp_path / "a.jsonl").decode()
    lines = content.removesuffix("\n").split("\n")
    assert [ImageCaptions.model_validate_json(line) for line in lines] == RESULTS
    assert json.loads(lines[0]) == {
        "image": "plain.jpg",
        "captions": [
            {
                "text": f'a "dog", {rank}',
                "log_probability": -0.5 * rank,
                "words": [{"word": "dog", "log_probability": -0.25}],
            }
            for rank in (1, 2)
        ],
        "tags": [
            {"tag": "person", "probability": 0.9, "count": 2},
            {"tag": "dog", "probability": 0.8},
        ],
        "familiarity": 0.9,
        "confidence": 0.7,
        "error": None,
    }


def test_csv_has_a_row_a_caption(tmp_path):
    write(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == CSV_COLUMNS
    expected = []
    for one in RESULTS:
        for rank, said in enumerate(one.captions, 1):
            log_probability = str(said.log_probability)
            confidence = "0.7" if rank == 1 else ""
            row = [
                as_cell(one.image),
                str(rank),
                said.text,
                log_probability,
                "2 persons; dog",
                "0.9",
            ]
            expected.append([*row, confidence, ""])
        if one.error:
            expected.append([one.image, *[""] * 6, one.error])
    assert rows == expected


def test_each_photo_is_on_the_disk_at_once(path):
    whole = write(path.with_name(f"whole{path.suffix}"))
    file, sizes = CaptionFile(path), [path.stat().st_size]
    for one in RESULTS:
        file.write(one)
        content = path.read_bytes()
        assert whole.startswith(content)
        sizes.append(len(content))
    assert sizes == sorted(set(sizes))
    assert content == whole


# Interrupted


def test_a_file_cut_anywhere_ends_as_one_that_was_not(path):
    whole = write(path, GOOD)
    ends = {place + shift for place, byte in enumerate(whole) for shift in range(3) if byte == 10}
    for kept in sorted({*range(0, len(whole), 7), *ends}):
        path.write_bytes(whole[:kept])
        assert write(path, GOOD) == whole, whole[:kept]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_csv_cut_between_two_rows_of_the_last_photo_does_that_photo_again(tmp_path):
    path = tmp_path / "a.csv"
    whole = write(path, GOOD[:2])
    path.write_bytes(whole[: whole[:-1].rindex(b"\n") + 1])
    assert done(path) == {GOOD[0].image}
    assert write(path, GOOD[:2]) == whole
    assert done(path) == {one.image for one in GOOD[:2]}


def test_a_photo_that_failed_is_tried_again(path):
    write(path)
    assert done(path) == {one.image for one in GOOD}
    assert path.read_bytes() == write(path.with_name(f"good{path.suffix}"), GOOD)
    mended = result("bad.jpg")
    assert write(path, [mended]) == write(path.with_name(f"b{path.suffix}"), [*GOOD, mended])


def test_a_disk_that_is_full_when_a_file_is_mended_leaves_it_as_it_was(path, limited):
    whole = write(path)
    with (
        pytest.raises(OSError, match=rf"File too large: '.*{path.name}'"),
        limited(len(whole) // 2),
    ):
        CaptionFile(path, n_best=2)
    assert path.read_bytes() == whole


def test_a_whole_file_is_left_as_it_is(path):
    whole, before = write(path, GOOD), path.stat().st_mtime_ns
    assert done(path) == {one.image for one in GOOD}
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (whole, before)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, max_size=4))
def test_whatever_the_names_they_are_known_again(tmp_path_factory, names):
    for suffix in (".jsonl", ".csv"):
        path = tmp_path_factory.mktemp("any") / f"a{suffix}"
        whole = write(path, map(result, names))
        file = CaptionFile(path, n_best=2)
        assert (len(file), all(name in file for name in names)) == (len(names), True)
        assert path.read_bytes() == whole


def test_more_photos_come_after_those_that_are_there(path):
    whole = write(path, GOOD)
    half = path.with_name(f"half{path.suffix}")
    write(half, GOOD[:3])
    write(half, GOOD[3:])
    assert half.read_bytes() == whole


# Refused

HEADER = ",".join(CSV_COLUMNS) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        "hello",
        "hello\n",
        "name,age\nx,3\n",
        '{"image": "a.jpg"}\n\n',
        '{"image": "a.jpg", "captions": ["a dog"]}\n',
        "[1]\n",
        "3\n",
        '{"name": 1}\n',
        '{"image": []}\n',
        "image,rank,text\na.jpg,1,dog\n",
        "image,rank,text,log_probability,error,score\n",
        "image,rank,text,text,error\n",
        "\xff\xfe\n",
        "\xff\n",
    ],
)
def test_another_file_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(OptionsError, match=rf"{path.name} exists and was not written by `mrnn cap"):
        CaptionFile(path)
    assert path.read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('"a"b,1', "not CSV"),
        ("a.jpg,1,dog", "3 cells, but 8 in the header"),
        ("a.jpg,1,dog,-1,,0.9,0.9,,", "9 cells, but 8 in the header"),
        ("a.jpg,0,dog,-1,,0.9,0.9,", "expected a rank and a log-probability, or an error"),
        ("a.jpg,1,dog,x,,0.9,0.9,", "expected a rank and a log-probability, or an error"),
        ('a.jpg,1,"dog,-1,,0.9,0.9,', "a quotation mark in it is not closed"),
        ('"a.jpg,1,dog,-1,,0.9,0.9,', "a quotation mark in it is not closed"),
        ('a.jpg,1,"dog\nx",-1,,0.9,0.9,', "a quotation mark in it is not closed"),
        ("\xff.jpg,1,dog,-1,,0.9,0.9,", "not UTF-8; save the file as UTF-8"),
    ],
)
def test_a_line_of_a_csv_that_is_not_understood_is_refused_not_cut_away(tmp_path, line, problem):
    path, good = tmp_path / "a.csv", "good.jpg,1,a wall,-1.5,,0.9,0.9,\n"
    content = (HEADER + good + line + "\n" + good.replace("d", "x")).encode("latin-1")
    path.write_bytes(content)
    mend = r"; correct or delete that line, or give another file$"
    with pytest.raises(OptionsError, match=rf"a\.csv:3: {problem}.*{mend}"):
        CaptionFile(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", ["hello", '{"image":"a.jpg"}', "[" * 100_000, '{"image":'])
def test_a_line_of_json_that_is_not_understood_is_refused_not_cut_away(tmp_path, line):
    path = tmp_path / "a.jsonl"
    good = write(path, GOOD[:2])
    path.write_bytes(good + f"{line}\n".encode() + good)
    with pytest.raises(OptionsError, match=r"a\.jsonl:3: not a line that mrnn caption writes; "):
        CaptionFile(path, n_best=2)
    path.write_bytes(good + b"hello")
    with pytest.raises(OptionsError, match=r"a\.jsonl:3: not a line that mrnn caption writes; "):
        CaptionFile(path, n_best=2)


def test_a_stray_quotation_mark_removes_nothing(tmp_path):
    path = tmp_path / "a.csv"
    names = [f"{number}.jpg" for number in range(60)]
    whole = write(path, map(result, names))
    for place in range(0, len(whole) - 200, 97):
        spoiled = whole[:place] + b'"' + whole[place:]
        path.write_bytes(spoiled)
        try:
            CaptionFile(path, n_best=2)
        except OptionsError:
            assert path.read_bytes() == spoiled
        assert path.read_bytes().count(b"\n") == whole.count(b"\n")


def test_a_photo_that_is_there_twice_is_told(path):
    content = write(path, GOOD[:2])
    first = content.split(b"\n")[0 if path.suffix == ".jsonl" else 1] + b"\n"
    path.write_bytes(content + first)
    lines = {".jsonl": (1, 3), ".csv": (2, 6)}[path.suffix]
    message = (
        rf"{path.name}:{lines[1]}: plain\.jpg is in line {lines[0]} already, as after two runs at "
        r"once; delete one of the two, or give another file$"
    )
    with pytest.raises(OptionsError, match=message):
        CaptionFile(path, n_best=2)
    assert path.read_bytes() == content + first


@pytest.mark.parametrize("name", ["a.txt", "a", "a.json"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(OptionsError, match=rf"{name}: captions go to a \.jsonl or a \.csv file$"):
        CaptionFile(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_photos_with_more_captions_than_asked_for_are_refused(path):
    whole = write(path)
    told = rf"{path.name} has up to 2 captions a photo, not 1; give another file, or --n-best 2$"
    with pytest.raises(OptionsError, match=told):
        CaptionFile(path, n_best=1)
    assert path.read_bytes() == whole


def test_a_full_disk_is_told_and_the_file_goes_on(path, limited, tmp_path):
    write(whole := path.with_stem("whole"), GOOD)
    size = len(whole.read_bytes())
    with (
        pytest.raises(OSError, match=rf"File too large: '.*{path.name}'"),
        limited(size * 2 // 3),
    ):
        write(path, GOOD)
    write(path, GOOD)
    assert path.read_bytes() == whole.read_bytes()


# What others have made of it


def test_capitals_are_no_obstacle(tmp_path):
    assert write(tmp_path / "UP.CSV") == write(tmp_path / "up.csv")
    assert write(tmp_path / "UP.JSONL") == write(tmp_path / "up.jsonl")


@pytest.mark.parametrize("lineterminator", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_file_that_a_spreadsheet_saved_goes_on_in_its_way(
    tmp_path, lineterminator, encoding, separator, quoting
):
    path = tmp_path / "a.csv"

    def saved(content):
        rows = csv.reader(io.StringIO(content.decode(), newline=""))
        text = io.StringIO(newline="")
        writer = csv.writer(
            text, delimiter=separator, lineterminator=lineterminator, quoting=quoting
        )
        writer.writerows(rows)
        return text.getvalue().encode(encoding)

    def cells(content):
        text = content.decode(encoding)
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))

    ours = write(tmp_path / "ours.csv", GOOD)
    content = saved(write(path, GOOD[:3]))
    path.write_bytes(content)
    whole = write(path, GOOD)
    assert whole.startswith(content)
    assert whole.decode(encoding).endswith(lineterminator)
    assert cells(whole) == list(csv.reader(io.StringIO(ours.decode(), newline="")))
    for cut in range(1, 60, 7):
        path.write_bytes(whole[:-cut])
        assert cells(write(path, GOOD)) == cells(whole)


def test_columns_that_a_user_deleted_or_moved_stay_so(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('error,text,image,rank\n,a dog,a.jpg,1\n,a dog,a.jpg,2\n,"x')
    content = write(path, [result("b.jpg", 2), ImageCaptions(image="c.jpg", error="no")])
    assert content.decode().splitlines()[1:] == [
        *(",a dog,a.jpg,1", ",a dog,a.jpg,2"),
        *(f',"a ""dog"", {rank}",b.jpg,{rank}' for rank in (1, 2)),
        "no,,c.jpg,",
    ]


def test_decimal_commas_stay_decimal_commas(tmp_path):
    path = tmp_path / "a.csv"
    rows = "a.jpg;1;a dog;-8,39;;0,9;0,94;\na.jpg;2;a dog;-9;;0,9;;\n"
    path.write_text(HEADER.replace(",", ";") + rows)
    write(path, [result("b.jpg", 1)])
    row = 'b.jpg;1;"a ""dog"", 1";-0,5;"2 persons; dog";0,9;0,7;'
    assert path.read_text().splitlines()[3] == row


def test_json_lines_with_windows_ends_of_lines_go_on_so(tmp_path):
    path = tmp_path / "a.jsonl"
    start = codecs.BOM_UTF8 + write(path, GOOD[:2]).replace(b"\n", b"\r\n")
    path.write_bytes(start + b"\r\n")
    assert write(path, GOOD[:3]).startswith(start)
    assert path.read_bytes().endswith(b"}\r\n")
    assert done(path) == {one.image for one in GOOD[:3]}
    path.write_bytes(path.read_bytes().rstrip())  # whole, but for the end of the line
    assert done(path) == {one.image for one in GOOD[:3]}


def test_cells_that_a_spreadsheet_would_run_are_text(tmp_path):
    path = tmp_path / "a.csv"
    names = ["=1+1.jpg", "'=1.jpg", "-1.jpg", "+1.jpg", "@a.jpg", "\ta.jpg", "a;=1+1.jpg", "'a.jpg"]
    content = write(path, [*map(result, names), ImageCaptions(image="x", error="=cmd")])
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]
    assert not any(cell.startswith(("=", "+", "@", "\t")) for row in rows for cell in row)
    assert not any(row[0].startswith("-") for row in rows)
    assert b'"a;=1+1.jpg"' in content  # or it were two cells where ; separates
    file = CaptionFile(path, n_best=2)
    assert all(name in file for name in names)
    assert len(file) == len(names)


# The same photo


def test_a_photo_is_done_under_whatever_path_and_keeps_its_name(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    Path("photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Path("photos", name).touch()
    content = write(path, [result("photos/a.jpg")])
    file = CaptionFile(path, n_best=2)
    here = path.parent / "photos"
    assert all(one in file for one in (here / "a.jpg", "photos/../photos//a.jpg", "./photos/a.jpg"))
    assert here / "b.jpg" not in file
    assert path.read_bytes() == content


def test_names_that_are_not_utf8_stay_apart(path):
    names = ["caf\udce9.jpg", r"caf\udce9.jpg", "caf\udcea.jpg"]
    for name in names:
        file = CaptionFile(path, n_best=2)
        assert name not in file
        file.write(result(name_as_text(name)))
    file = CaptionFile(path, n_best=2)
    assert all(name in file for name in names)
    assert len(file) == 3


# An image folder


def test_an_image_folder_has_names_below_it_and_texts(tmp_path):
    path, text = tmp_path / "Metadata.jsonl", WrittenText("sks ", "!")
    for _ in range(2):
        file = CaptionFile(path, text_of=text)
        for name in ("a.jpg", "sub/é.jpg"):
            if tmp_path / name not in file:
                file.write(result(str(tmp_path / name)))
    file.write(ImageCaptions(image=str(tmp_path / "bad.jpg"), error="no"))
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {"file_name": "a.jpg", "text": 'sks a "dog", 1!'},
        {"file_name": "sub/é.jpg", "text": 'sks a "dog", 1!'},
    ]
    content = path.read_bytes()
    for cut in range(1, 30):
        path.write_bytes(content[:-cut])
        file = CaptionFile(path, text_of=text)
        if tmp_path / "sub/é.jpg" not in file:
            file.write(result(str(tmp_path / "sub/é.jpg")))
        assert path.read_bytes() == content


def test_an_image_folder_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "to").symlink_to("real")
    CaptionFile(tmp_path / "to" / "metadata.jsonl").write(result(str(tmp_path / "real" / "a.jpg")))
    assert json.loads((tmp_path / "real" / "metadata.jsonl").read_text())["file_name"] == "a.jpg"


def test_a_photo_outside_an_image_folder_is_refused(tmp_path):
    file = CaptionFile(tmp_path / "metadata.jsonl")
    file.check([tmp_path / "a.jpg"])
    with pytest.raises(OptionsError, match=r"^--out metadata\.jsonl: /b\.jpg is not below "):
        file.check([tmp_path / "a.jpg", Path("/b.jpg")])


@pytest.mark.parametrize(
    "line",
    ['{"file_name": "a.jpg"}', '{"file_name": "a.jpg", "text": "x", "label": 1}', "[]",
     '{"file_name": 1, "text": "x"}', '{"image": "a.jpg", "text": "x"}'],
)  # fmt: skip
def test_metadata_of_another_tool_is_refused(tmp_path, line):
    (tmp_path / "metadata.jsonl").write_text(line + "\n")
    with pytest.raises(OptionsError, match="exists and was not written by `mrnn caption`"):
        CaptionFile(tmp_path / "metadata.jsonl")
    assert (tmp_path / "metadata.jsonl").read_text() == line + "\n"
