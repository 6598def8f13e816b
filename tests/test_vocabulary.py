import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.errors import CheckpointError, DataError
from mrnn.tokenizer import SPECIAL_TOKENS, Vocabulary

word = st.text(min_size=1, max_size=6).filter(
    lambda text: text.split() == [text] and text not in SPECIAL_TOKENS
)
unique_words = st.lists(word, unique=True)
HEAD = b"<start>\n<end>\n<unk>\n"


def test_build_orders_by_count_then_alphabet():
    captions = [["b", "a", "c"], ["b", "a", "rare"], ["c", "b", "<unk>"], ["<unk>", "<unk>"]]
    vocabulary = Vocabulary.build(captions, minimum_count=2)
    assert vocabulary.words == ("<start>", "<end>", "<unk>", "b", "a", "c")
    assert len(vocabulary) == 6


def test_build_wants_three_by_default():
    assert Vocabulary.build([["a", "b", "a"], ["a", "b"]]) == Vocabulary(["a"])


def test_the_signs_are_the_first_ids():
    ids = [Vocabulary.BOS, Vocabulary.EOS, Vocabulary.UNK]
    assert [Vocabulary([]).words[i] for i in ids] == ["<start>", "<end>", "<unk>"]


def test_encode_knows_no_strange_words_and_no_signs():
    vocabulary = Vocabulary(["dog", "cat"])
    assert vocabulary.encode(["cat", "Dog", "<end>", "dog"]) == [4, 2, 2, 3]
    assert "dog" in vocabulary
    assert "<end>" not in vocabulary


def test_decode_drops_start_and_stops_at_end():
    assert Vocabulary(["dog", "cat"]).decode([0, 4, 2, 3, 1, 4]) == ["cat", "<unk>", "dog"]


@given(unique_words)
def test_encode_then_decode_gives_the_words(words):
    vocabulary = Vocabulary(words)
    assert vocabulary.decode(vocabulary.encode(words)) == words


@given(words=unique_words)
def test_save_then_load_gives_the_same(tmp_path_factory, words):
    vocabulary = Vocabulary(words)
    path = tmp_path_factory.getbasetemp() / "vocabulary.txt"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert hash(Vocabulary.load(path)) == hash(vocabulary)


def test_the_file_is_one_word_a_line(tmp_path):
    Vocabulary(["café", "犬"]).save(tmp_path / "v.txt")
    assert (tmp_path / "v.txt").read_bytes() == HEAD + "café\n犬\n".encode()


def test_equality():
    assert Vocabulary(["a"]) != Vocabulary(["b"])
    assert Vocabulary(["a"]) != ("<start>", "<end>", "<unk>", "a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "a"], "^Word 'a' is in the vocabulary twice$"),
        (["<end>"], "^Word '<end>' is in the vocabulary twice$"),
        (["a", ""], "^Word 1, '', is empty or has whitespace in it$"),
        (["a b"], "^Word 0, 'a b', is empty or has whitespace in it$"),
    ],
)
def test_refuses_words_that_cannot_be_told_apart(words, message):
    with pytest.raises(DataError, match=message):
        Vocabulary(words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"v\.txt, line 1: '' instead of <start>$"),
        (b"dog\ncat\nhat\n", r"v\.txt, line 1: 'dog' instead of <start>$"),
        (b"<start>\n<unk>\n", r"v\.txt, line 2: '<unk>' instead of <end>$"),
        (b"<start>\n<end>\n", r"v\.txt, line 3: the file ends before <unk>$"),
        (HEAD + b"dog\ncat\ndog\n", r"v\.txt, line 6: 'dog' is on line 4 too$"),
        (HEAD + b"dog\n\ncat\n", r"v\.txt, line 5: '' instead of one word$"),
        (HEAD + b"hot dog\n", r"v\.txt, line 4: 'hot dog' instead of one word$"),
        (HEAD + b"dog\ncaf\xe9\n", r"v\.txt, line 5: not UTF-8 text$"),
    ],
)
def test_load_names_the_file_and_the_line(tmp_path, content, message):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        Vocabulary.load(tmp_path / "v.txt")


def test_load_names_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"v\.txt cannot be read: No such file or directory$"):
        Vocabulary.load(tmp_path / "v.txt")
