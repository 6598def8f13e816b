import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.dataset import CaptionedImage
from mrnn.data.readers.iapr import read_iapr
from mrnn.errors import DataError

FILE = """\
<DOC>
<DOCNO>annotations/01/1000.eng</DOCNO>
<TITLE>A caf\xe9; in Quito</TITLE>
<DESCRIPTION>two waiters at the  caf\xe9's
door; a red wall behind them; </DESCRIPTION>
<NOTES>not; this</NOTES>
<LOCATION>Quito, Ecuador</LOCATION>
<DATE>April 2002</DATE>
<IMAGE>images/01/1000.jpg</IMAGE>
<THUMBNAIL>thumbnails/01/1000.jpg</THUMBNAIL>
</DOC>"""
WAITERS, WALL = "two waiters at the café's door", "a red wall behind them"


def write(folder, text=FILE, name="01/1000.eng", encoding="latin-1"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))


def read(folder, **options):
    return list(read_iapr(folder, folder / "photos", **options))


def test_each_sentence_is_a_caption_or_all_joined_are_one(tmp_path):
    write(tmp_path)
    path = tmp_path / "photos/01/1000.jpg"
    assert read(tmp_path) == [CaptionedImage("01/1000.jpg", path, "", (WAITERS, WALL))]
    joined = (f"{WAITERS}; {WALL}",)
    assert read(tmp_path, sentences="joined") == [CaptionedImage("01/1000.jpg", path, "", joined)]


def test_images_come_by_their_numbers(tmp_path):
    for name in ("05/5001.eng", "01/1000.eng", "00/112.eng", "00/25.eng"):
        write(tmp_path, name=name)
    names = [image.name for image in read(tmp_path)]
    assert names == ["00/25.jpg", "00/112.jpg", "01/1000.jpg", "05/5001.jpg"]


def test_the_folder_of_images_may_be_that_of_the_release(tmp_path):
    (tmp_path / "photos/images").mkdir(parents=True)
    write(tmp_path)
    assert read(tmp_path)[0].path == tmp_path / "photos/images/01/1000.jpg"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "utf-8-sig"])
def test_encodings_and_ends_of_lines_make_no_difference(tmp_path, encoding, end):
    write(tmp_path, FILE.replace("\n", end), encoding=encoding)
    assert read(tmp_path)[0].captions == (WAITERS, WALL)


def test_quotes_of_windows_and_bytes_of_nobody(tmp_path):
    write(tmp_path, b"<DESCRIPTION>the man\x92s caf\xe9;</DESCRIPTION>")
    assert read(tmp_path)[0].captions == ("the man\u2019s café",)
    write(tmp_path, b"<DESCRIPTION>a caf\xe9 \x81;</DESCRIPTION>")
    assert read(tmp_path)[0].captions == ("a café \x81",)


@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        ("</DESCRIPTION>", ""),
        ("</DESCRIPTION>", "<DESCRIPTION>"),
        ("</DESCRIPTION>", "</DESCRIPTION"),
        ("<DESCRIPTION>", "<description>"),
        ("<DESCRIPTION>", "<DESCRIPTION "),
        ("</TITLE>", ""),
        ("</DOC>", ""),
        (FILE[FILE.index("</DESCRIPTION>") :], ""),
    ],
)
def test_broken_tags_are_survived(tmp_path, whole, broken):
    write(tmp_path, FILE.replace(whole, broken))
    assert read(tmp_path)[0].captions == (WAITERS, WALL)


@pytest.mark.parametrize(
    "tag", ["<DESCRIPTION></DESCRIPTION>", "<DESCRIPTION/>", "<DESCRIPTION> ; ;"]
)
def test_an_empty_description_is_no_caption(tmp_path, tag):
    write(tmp_path, tag)
    for sentences in ("split", "joined"):
        assert read(tmp_path, sentences=sentences)[0].captions == ()


def test_a_file_elsewhere_is_named_by_its_tags(tmp_path):
    write(tmp_path, name="flat/one.eng")
    assert read(tmp_path)[0].name == "01/1000.jpg"
    write(tmp_path, FILE.replace("annotations/01/1000", ""), name="flat/one.eng")
    assert read(tmp_path)[0].name == "01/1000.jpg"
    write(tmp_path, name="flat/two.eng")
    both = r"two\.eng: 01/1000\.jpg is described by .*one\.eng too; keep one"
    with pytest.raises(DataError, match=both):
        read(tmp_path)
    write(tmp_path, "<DESCRIPTION>a dog;</DESCRIPTION>", name="flat/one.eng")
    with pytest.raises(
        DataError, match=r"one\.eng: names no image; expected <IMAGE>images/01/1000"
    ):
        read(tmp_path)


def test_no_description(tmp_path):
    write(tmp_path, FILE.replace("DESCRIPTION", "DESCR"))
    with pytest.raises(DataError, match=r"01/1000\.eng: no <DESCRIPTION>; mend the file, or take"):
        read(tmp_path)


def test_files_that_cannot_be_read_or_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"no files \*\.eng; SOURCE is the folder annotations_comp"):
        read(tmp_path)
    (tmp_path / "01/1000.eng").mkdir(parents=True)
    with pytest.raises(DataError, match=r"1000\.eng: cannot be read \(Is a directory\)"):
        read(tmp_path)


sentence = st.text(st.characters(codec="latin-1", exclude_characters=";<")).map(
    lambda text: " ".join(text.split())
)


@given(st.lists(sentence.filter(bool)))
def test_sentences_that_are_written_are_read(tmp_path_factory, sentences):
    folder = tmp_path_factory.mktemp("iapr")
    text = FILE.replace(FILE[FILE.index("two") : FILE.index("</DESC")], ";".join(sentences))
    write(folder, text, encoding="utf-8")
    assert read(folder)[0].captions == tuple(sentences)


def test_hundreds_of_files(tmp_path):
    for number in range(500):
        write(tmp_path, name=f"{number % 40:02}/{number}.eng")
    assert [image.name for image in read(tmp_path)][-1] == "19/499.jpg"
