import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.errors import CheckpointError, DataError
from mrnn.tokenizer import (
    SPECIAL_TOKENS,
    EncodedCaptions,
    Vocabulary,
    join_words,
    tokenize,
)

# ruff: noqa: RUF001 (look-alike quotes and dashes are the matter of this file)
# Words

# As the Stanford PTB tokenizer in pycocoevalcap 1.2 gives them.
GOLDEN = {
    "A man's dog doesn't like the dogs' bowls.": "a man 's dog does n't like the dogs bowls",
    "I can't, won't; we'd they'll I've you're I'm": (
        "i ca n't wo n't we 'd they 'll i 've you 're i 'm"
    ),
    "It’s a dog, and they don’t mind.": "it 's a dog and they do n't mind",
    "A girl CANNOT reach; she's gonna jump": "a girl can not reach she 's gon na jump",
    "'Tis 5 o'clock, y'all!": "'t is 5 o'clock y' all",
    "rock 'n' roll in the '90s and the 1990's": "rock 'n' roll in the '90s and the 1990 's",
    "Don'ts, ma'am, d'Avignon and O'Brien": "do n'ts ma'am d'avignon and o'brien",
    "He said 'hello', \"stop\" and “wait”": "he said hello stop and wait",
    "A man (in red) [on the left] {x}": (
        "a man -lrb- in red -rrb- -lsb- on the left -rsb- -lcb- x -rcb-"
    ),
    "A T-shirt, a snow-covered hill -- a black-and-white dog - runs": (
        "a t-shirt a snow-covered hill a black-and-white dog runs"
    ),
    "pre- and post-war cars; a mid-air jump": "pre and post-war cars a mid-air jump",
    "wait... well . . . ok…": "wait well ok",
    "What?! Wow!! Really? Yes!": "what ?! wow !! really yes",
    "3.5 of 1,000 at 12:30pm on 10/12/2014, 5-6": "3.5 of 1,000 at 12:30 pm on 10/12/2014 5-6",
    "½ cup, 1/2 cup, 2 1/2 cups, a 10-year-old": ("1/2 cup 1/2 cup 2 1/2 cups a 10-year-old"),
    "$5.00, £5, 5¢, 50%, #1 and 6'2\" 75°": ("$ 5.00 # 5 5 cents 50 % # 1 and 6 2 75 °"),
    "4x4 35mm 3D mp3 +5 -5": "4x4 35mm 3d mp3 +5 -5",
    "Mr. Smith of St. Paul at 5 p.m. with a T.V. in the U.S.": (
        "mr. smith of st. paul at 5 p.m. with a t.v. in the u.s."
    ),
    "George W. eats vitamin d. A dog looks on": "george w. eats vitamin d a dog looks on",
    "bus no. 5, and no. It is no.": "bus no. 5 and no it is no",
    "AT&T, M&M's, black & white, a&b": "at&t m&m 's black & white a & b",
    "and/or a skating/skiing a / b": "and/or a skating/skiing a / b",
    "dog.cat dog,cat dog;cat dog!cat": "dog.cat dog cat dog cat dog!cat",
    "www.example.com x@example.com #dog @dog": "www.example.com x@example.com #dog @dog",
    "a_b * ~ ^ | \\ = + <unk> :) ;-)": "a_b * ~ ^ | \\ = + <unk> :-rrb- ;--rrb-",
    "café El Niño Łódź Ångström Привет हिन्दी 한국어": (
        "café el niño łódź ångström привет हिन्दी 한국어"
    ),
    "A café-style naïve-looking cafés' menu": "a café-style naïve-looking cafés menu",
    "soft\u00adhyphen e\u0301t\u00e9": "softhyphen e\u0301t\u00e9",
    "dog🐶cat ❤️ ★ ©": "dog cat ❤ ★ ©",
    "colour grey theatre neighbours": "colour grey theatre neighbours",
    "fish &amp; chips &lt;3 &quot;yum&quot;": "fish & chips < 3 yum",
    "the dog\tsleeps \u00a0 on\na mat": "the dog sleeps on a mat",
    " . , ! ' \" - -- ": "",
}


@pytest.mark.parametrize(("caption", "words"), GOLDEN.items())
def test_tokenize_equals_the_reference(caption, words):
    assert " ".join(tokenize(caption)) == words


def test_letters_beyond_the_basic_plane_are_kept():
    assert tokenize("a 𠀀 dog") == ["a", "𠀀", "dog"]


UNSPACED = {
    "一只狗在草地上跑。": "一 只 狗 在 草 地 上 跑",
    "犬がボールで遊んでいる、公園で。": "犬 が ボ ー ル で 遊 ん で い る 公 園 で",
    "人々は〇ヶ所": "人 々 は 〇 ヶ 所",
    "か\u3099くせい": "か\u3099 く せ い",
    "ผู้ชายกำลังขี่ม้า": "ผู้ ช า ย ก ำ ลั ง ขี่ ม้ า",
    "ຜູ້ຊາຍຂີ່ມ້າ": "ຜູ້ ຊ າ ຍ ຂີ່ ມ້ າ",
    "ខ្មែរ": "ខ្ មែ រ",
    "ခွေးတစ်ကောင်": "ခွေး တ စ် ကော င်",
    "𠀀𠀁": "𠀀 𠀁",
    "葛\U000e0100城": "葛\U000e0100 城",
}


@pytest.mark.parametrize(("caption", "words"), UNSPACED.items())
def test_without_spaces_a_character_is_a_word_and_they_join_again(caption, words):
    found = tokenize(caption)
    assert " ".join(found) == words
    assert join_words(found) == re.sub("[、。]", "", caption)


def test_scripts_may_be_mixed():
    words = ["a", "sign", "that", "says", "東", "京", "in", "red"]
    assert tokenize("A sign that says 東京 in red.") == words
    assert join_words(words) == "a sign that says 東京 in red"
    assert tokenize("一只dog和3只cat") == ["一", "只", "dog", "和", "3", "只", "cat"]
    assert join_words(["一", "只", "dog", "和", "猫"]) == "一只 dog 和猫"


SPACED = [
    "यह एक कुत्ता है", "একটি কুকুর দৌড়াচ্ছে", "ஒரு நாய் ஓடுகிறது",
    "ഒരു നായ ഓടുന്നു", "බල්ලෙක් දුවනවා",
    "كَلْبٌ يَرْكُضُ", "כֶּלֶב רָץ", "ܟܠܒܐ ܪܗܛ", "ކުއްތާ ދުވަނީ", "ውሻ እየሮጠ ነው", "ძაღლი დარბის", "շունը վազում է",
    "con cho\u0301 đang chạy", "개가 달린다", "собака бежит", "ο σκύλος τρέχει", "ꦱꦼꦒꦮꦺꦴꦤ꧀",
    "ᬘᬶᬘᬶᬂ", "ཁྱི",
]  # fmt: skip


@pytest.mark.parametrize("caption", SPACED)
def test_where_spaces_divide_the_words_nothing_is_lost(caption):
    assert tokenize(caption) == caption.split()


@given(st.text(st.characters(whitelist_categories=["Lo"], max_codepoint=0x30FF)))
def test_joined_characters_are_the_text(caption):
    words = tokenize(caption)
    assert join_words(words).replace(" ", "") == caption


@given(st.text())
def test_words_are_lower_case_and_without_whitespace(caption):
    for word in tokenize(caption):
        assert word == word.lower()
        assert word.split() == [word]


@given(st.text(st.characters(categories=["Lu", "Ll", "Lt", "Lm", "Lo"])))
def test_letters_are_never_lost(caption):
    assert "".join(tokenize(caption)) == caption.lower()


STABLE = ["a", "dog", "'s", "n't", "t-shirt", "can", "not", "gon", "na", "'em", "o'clock", "u.s."]
STABLE += ["mr.", "1/2", "3.5", "-lrb-", "-rrb-", "café", "?!"]


@given(st.lists(st.sampled_from(STABLE)))
def test_words_survive_being_tokenized_again(words):
    assert tokenize(" ".join(words)) == words


@pytest.mark.parametrize(
    "caption",
    [
        "a man's hat does n't fit",
        "the dog can't and cannot, y'all, it's gonna run",
        "two men (one in red) play at 5 o'clock",
        "lemme see what they've got; we gotta and wanna",
    ],
)
def test_joined_words_give_the_same_words(caption):
    words = tokenize(caption)
    assert tokenize(join_words(words)) == words


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("a man 's hat", "a man's hat"),
        ("they do n't and ca n't", "they don't and can't"),
        ("i 'm sure we 'll see you 're the dogs 's", "i'm sure we'll see you're the dogs's"),
        ("we can not nothing", "we cannot nothing"),
        ("a dog -lrb- in red -rrb- runs", "a dog (in red) runs"),
        ("y' all gon na", "y'all gonna"),
        ("rock 'n' roll 'em in the '90s", "rock 'n' roll 'em in the '90s"),
        ("", ""),
    ],
)
def test_join_words(words, text):
    assert join_words(words.split()) == text


def test_a_word_is_held_once_however_often_it_is_said():
    first, second = tokenize("A brown dog."), tokenize("Brown, a dog")
    assert {id(word) for word in first} == {id(word) for word in second}


@pytest.mark.parametrize("piece", ["a,", "a.-", "a%", " ", "<a", "a'", "1/", "www."])
def test_a_long_run_of_anything_is_quick(piece):
    start = time.process_time()
    tokenize(piece * 5000)
    assert time.process_time() - start < 2


# Vocabulary


word = st.text(min_size=1, max_size=6).filter(
    lambda text: text.split() == [text] and text not in SPECIAL_TOKENS
)
unique_words = st.lists(word, unique=True)
HEAD = b"<bos>\n<eos>\n<unk>\n"


def test_build_orders_by_count_then_alphabet():
    captions = [["b", "a", "c"], ["b", "a", "rare"], ["c", "b", "<unk>"], ["<unk>", "<unk>"]]
    vocabulary = Vocabulary.build(captions, min_count=2)
    assert vocabulary.words == ("<bos>", "<eos>", "<unk>", "b", "a", "c")
    assert len(vocabulary) == 6


def test_a_word_needs_three_captions_by_default():
    assert Vocabulary.build([["a", "b", "a"], ["a", "b"]]) == Vocabulary(["a"])


def test_the_special_tokens_are_the_first_ids():
    ids = [Vocabulary.BOS, Vocabulary.EOS, Vocabulary.UNK]
    assert [Vocabulary([]).words[i] for i in ids] == ["<bos>", "<eos>", "<unk>"]


def test_encode_knows_no_strange_words_and_no_special_tokens():
    vocabulary = Vocabulary(["dog", "cat"])
    assert vocabulary.encode(["cat", "Dog", "<eos>", "dog"]) == [4, 2, 2, 3]
    assert "dog" in vocabulary
    assert "<eos>" not in vocabulary


def test_decode_drops_bos_and_stops_at_eos():
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
    assert Vocabulary(["a"]) != ("<bos>", "<eos>", "<unk>", "a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "a"], "^Word 'a' is in the vocabulary twice$"),
        (["<eos>"], "^Word '<eos>' is in the vocabulary twice$"),
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
        (b"", r"v\.txt, line 1: '' instead of <bos>"),
        (
            b"dog\ncat\nhat\n",
            r"v\.txt, line 1: 'dog' instead of <bos>",
        ),
        (
            b"<bos>\n<unk>\n",
            r"v\.txt, line 2: '<unk>' instead of <eos>",
        ),
        (
            b"<bos>\n<eos>\n",
            r"v\.txt, line 3: the file ends before <unk>",
        ),
        (
            HEAD + b"dog\ncat\ndog\n",
            r"v\.txt, line 6: 'dog' is on line 4 too",
        ),
        (
            HEAD + b"dog\n\ncat\n",
            r"v\.txt, line 5: '' instead of one word",
        ),
        (
            HEAD + b"hot dog\n",
            r"v\.txt, line 4: 'hot dog' instead of one word",
        ),
        (HEAD + b"dog\ncaf\xe9\n", r"v\.txt, line 5: not UTF-8 text"),
    ],
)
def test_load_names_the_file_and_the_line(tmp_path, content, message):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{message}; copy the whole folder again$"):
        Vocabulary.load(tmp_path / "v.txt")


def test_load_names_a_missing_file(tmp_path):
    message = r"v\.txt: is missing; copy the whole folder again$"
    with pytest.raises(CheckpointError, match=message):
        Vocabulary.load(tmp_path / "v.txt")


# Captions as word ids


def test_captions_become_ids_and_rows_of_their_images():
    captions = [[["a", "dog"], ["cat"]], [], [["dog", "a", "dog"]]]
    encoded = EncodedCaptions.of(captions, Vocabulary(["dog", "cat"]))
    assert [ids.tolist() for ids in encoded.sentences] == [[2, 3], [4], [3, 2, 3]]
    assert encoded.image_rows.tolist() == [0, 0, 2]
    assert encoded.lengths.tolist() == [2, 1, 3]
    assert encoded.by_image == [[[2, 3], [4]], [], [[3, 2, 3]]]
    assert len(encoded) == 3
    placed = EncodedCaptions.of(captions, Vocabulary(["dog"]), np.array([7, 5, 1]))
    assert placed.image_rows.tolist() == [7, 7, 1]
    assert [len(own) for own in placed.by_image] == [0, 1, 0, 0, 0, 0, 0, 2]


def test_no_captions_have_no_lengths_and_no_images():
    encoded = EncodedCaptions.of([], Vocabulary([]))
    assert (len(encoded), encoded.lengths.tolist(), encoded.by_image) == (0, [], [])
