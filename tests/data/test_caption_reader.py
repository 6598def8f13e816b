import json

import pytest

from mrnn.captioning.caption_files.coco_results import coco_ids, write_coco_results
from mrnn.data.caption_matching import References, match, sample_references
from mrnn.data.caption_reader import match_files, read_hypotheses, read_references
from mrnn.errors import DataError

RESULTS = [{"image_id": 7, "caption": "a dog"}, {"image_id": 42, "caption": "a cat"}]


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return file

    return write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", RESULTS),
        ("c.jsonl", '{"image": "7", "caption": "a dog"}\n\n{"image_id": 42, "caption": "a cat"}\n'),
        ("c.jsonl", '{"image": "7", "captions": ["a dog", "b"]}\n{"image": "42", "text": "a cat"}'),
        ("c.csv", "image,caption\n7,a dog\n42,a cat\n"),
        ("c.csv", "caption,image_id\na dog,7\na cat,42\n"),
        ("c.tsv", "image\ttext\n7\ta dog\n42\ta cat\n"),
    ],
)
def test_forms_of_hypotheses(write, name, content):
    assert read_hypotheses(write(name, content)) == {"7": "a dog", "42": "a cat"}


def test_what_mrnn_caption_writes(write):
    lines = [
        {"image": "p/a.jpg", "captions": [{"text": "a dog"}, {"text": "dogs"}], "error": None},
        {"image": "p/bad.jpg", "captions": [], "familiarity": None, "error": "not a photo"},
    ]
    file = write("out.jsonl", "\n".join(map(json.dumps, lines)))
    assert read_hypotheses(file) == {"p/a.jpg": "a dog"}
    rows = [
        "image,rank,text,log_probability,tags,familiarity,confidence,error",
        "p/a.jpg,1,a dog,-1,2 persons; dog,1,0.7,",
        "p/a.jpg,2,dogs,-2,,1,,",
        "p/bad.jpg,,,,,,,not a photo",
    ]
    assert read_hypotheses(write("out.csv", "\n".join(rows))) == {"p/a.jpg": "a dog"}


def test_plain_text_is_a_caption_a_line(write):
    file = write("h.txt", "a dog\n\na cat\n")
    assert read_hypotheses(file) == {"1": "a dog", "2": "", "3": "a cat"}
    references = [write("r1.txt", "the dog\nx\n\n"), write("r2.txt", "dogs\ny\ncats")]
    matched = match_files([file], references)
    assert matched.references == [("the dog", "dogs"), ("x", "y"), ("cats",)]
    assert matched.systems == [["a dog", "", "a cat"]]


@pytest.mark.parametrize("names", [True, False])
def test_coco_annotations(write, names):
    images = [{"id": 7, "file_name": "x/seven.jpg"}, {"id": 42}, {"id": 5}]
    annotations = [*RESULTS, {"image_id": 7, "caption": "dogs", "id": 3}]
    content = {"info": {}, "annotations": annotations} | ({"images": images} if names else {})
    references = read_references([write("annotations.json", content)])
    expected = {"7": ("a dog", "dogs"), "42": ("a cat",)} | ({"5": ()} if names else {})
    assert references.captions == expected
    assert references.find("COCO_val2014_000000000042.jpg") == "42"
    assert references.find("00042") == references.find("COCO_val2014_042.jpg") == "42"
    assert references.find("photos/seven.jpg") == ("7" if names else None)


def test_references_in_rows(write):
    lines = '{"image": "a.jpg", "captions": ["x", "y"]}\n{"image": "a.jpg", "caption": "z"}\n'
    assert read_references([write("r.jsonl", lines)]).captions == {"a.jpg": ("x", "y", "z")}
    assert read_references([write("r.csv", "image,caption\na.jpg,x\na.jpg,y")]).captions == {
        "a.jpg": ("x", "y")
    }


def test_a_dataset_folder(colours):
    references = read_references([colours.folder], "dev")
    assert list(references.captions) == [image.name for image in colours.split("dev")]
    name = "dev-00-red.png"
    assert references.captions[name] == ("A red wall .", "The wall is red")
    with pytest.raises(
        DataError, match=r"which split are the references\? --split .*: train, dev$"
    ):
        read_references([colours.folder])
    with pytest.raises(DataError, match=r"no split 'test'; there are: train, dev$"):
        read_references([colours.folder], "test")


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("COCO_val2014_000000000042.jpg", "COCO_val2014_000000000042.jpg"),
        ("42", "COCO_val2014_000000000042.jpg"),
        ("some/where/000000000042.png", "COCO_val2014_000000000042.jpg"),
        ("some\\where\\a.jpg", "a.jpg"),
        ("a", "a.jpg"),
        ("one/b.jpg", "one/b.jpg"),
        ("three/b.jpg", None),
        ("b.jpg", None),
        ("v1.2", "v1.2"),
        ("v1", None),
        ("43", None),
    ],
)
def test_names_that_are_one_image(name, image):
    names = ("COCO_val2014_000000000042.jpg", "a.jpg", "one/b.jpg", "two/b.jpg", "v1.2")
    assert References(dict.fromkeys(names, ("x",))).find(name) == image


def test_what_has_no_match_is_told():
    references = References({"a": ("x",), "b": ("y",), "c": ("z",), "bare": ()})
    systems = [("A", {"a": "1", "b": "2", "bare": "0", "d": "3"}), ("B", {"c": "4", "a": "5"})]
    matched = match(systems, references)
    assert matched.images == ["a"]
    assert matched.systems == [["1"], ["5"]]
    assert matched.references == [("x",)]
    assert matched.notes == [
        "left out, captions in A of images that the references do not have: 1 (d)",
        "left out, images without a caption in A: 1 (c)",
        "left out, images without a caption in B: 1 (b)",
        "left out, images without references: 1 (bare)",
    ]


def test_long_lists_are_cut():
    references = References({str(i): ("x",) for i in range(2000)})
    (note,) = match([("A", {"0": "x"})], references).notes
    assert note.endswith(": 1,999 (1, 2, 3 and 1,996 more)")


def test_references_are_drawn_by_image_and_seed(write):
    rows = [f"{image}.jpg,{image}{i}" for image in "ab" for i in range(40)] + ["c.jpg,c0"]
    references = read_references([write("r.csv", "\n".join(["image,caption", *rows]))])
    matched = match([("A", {"a.jpg": "x", "b.jpg": "x", "c.jpg": "x"})], references)
    images, texts = matched.images, matched.references
    sampled, notes = sample_references(images, texts, 5, 0)
    assert [len(texts) for texts in sampled] == [5, 5, 1]
    assert notes == ["fewer than 5 references: 1 (c.jpg)"]
    places = [[int(text[1:]) for text in texts] for texts in sampled[:2]]
    assert places[0] != places[1]
    assert all(p == sorted(set(p)) for p in places)
    alone = match([("A", {"b.jpg": "x"})], references)
    assert sample_references(alone.images, alone.references, 5, 0)[0] == [sampled[1]]
    assert sample_references(images, texts, 5, 1)[0] != sampled
    assert sample_references(images, texts, 40, 0)[0] == texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h.txt", "", r"h\.txt: no captions in it$"),
        ("h.json", "", r"h\.json: no captions in it$"),
        ("h.json", "[]", r"h\.json: no captions in it$"),
        ("h.jsonl", "\n", r"h\.jsonl: no captions in it$"),
        ("h.csv", "", r"h\.csv: no captions in it$"),
        ("h.csv", "image,caption\n", r"h\.csv: no captions in it$"),
        ("h.docx", "x", r"h\.docx: expected a \.json, .*, \.parquet or \.txt file$"),
        ("h.json", '[{"image_id": 1,\n "caption"]', r"h\.json:2: not JSON \("),
        ("h.json", '{"image_id": 1}', r"h\.json: no captions found; expected a list or a"),
        ("h.json", '[{"image_id": 1}]', r"h\.json: \[0\]: no caption; expected caption or the"),
        ("h.json", '[{"image_id": 1.5, "caption": "x"}]', r"h\.json: \[0\]\.image_id: expected"),
        ("h.json", '"a dog"', r"h\.json: no captions found; expected a list or a"),
        ("h.json", '{"7": ["a"], "8": 9}', r'h\.json: \["8"\]\.captions: expected .*, not 9'),
        ("h.json", '{"results": {}}', r"h\.json: expected a list of objects, not an object of 0"),
        ("h.json", '[7]', r"h\.json: \[0\]: expected an object, as .*, not 7"),
        ("h.json", '[{"image_id": true, "caption": "x"}]', r"\[0\]\.image_id: .* name, not true"),
        ("h.json", '[{"image_id": " ", "caption": "x"}]', r'\[0\]\.image_id: .* name, not " "'),
        ("h.json", "[" * 100_000, r"h\.json: not JSON that is used here: nested too deeply"),
        ("h.json", [*RESULTS, RESULTS[0]], r": \[2\]: image '7' has a caption already, at \[0\]; "),
        ("h.jsonl", '{"image": "a"}\n', r"h\.jsonl:1: no caption; expected caption or the like"),
        ("h.jsonl", '{"image": "a", "caption": 3}', r"h\.jsonl:1: caption: expected a .*, not 3$"),
        ("h.jsonl", '{"image": "a", "captions": [{}]}', r"h\.jsonl:1: captions: expected .* an"),
        ("h.jsonl", '{"image": "a", "caption": "x"}\n[]', r"h\.jsonl:2: expected an object"),
        ("h.jsonl", '{"image": "a", "caption": "x"}\n{', r"h\.jsonl:2: not JSON"),
        ("h.jsonl", '{"caption": "x"}', r"h\.jsonl:1: no image; expected image or the like, but"),
        ("h.csv", "image,caption\na,x\nb\n", r"h\.csv:3: 1 cell, but 2 in the header "),
        ("h.csv", "image,caption\na,x\na,y\n", r"h\.csv:3: image 'a' has a caption already, at 2;"),
    ],
)  # fmt: skip
def test_bad_hypotheses_are_named(write, name, content, message):
    with pytest.raises(DataError, match=message):
        read_hypotheses(write(name, content))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read \(No such file"):
        read_hypotheses(tmp_path / "none.json")


def test_references_without_a_caption(write):
    with pytest.raises(DataError, match=r"r\.json: no captions in it$"):
        read_references([write("r.json", {"images": [{"id": 1}], "annotations": []})])
    with pytest.raises(DataError, match=r"r\.xml: expected a .* file, or a dataset folder$"):
        read_references([write("r.xml", "x")])


def test_what_does_not_belong_together(write):
    results = write("h.json", RESULTS)
    other = write("r.json", [{"image_id": 8, "caption": "x"}])
    with pytest.raises(DataError, match=r"h\.json: no image has both .*: '7' here, '8' there$"):
        match_files([results], [other])
    eight = write("h8.json", [{"image_id": 8, "caption": "x"}])
    with pytest.raises(DataError, match=r"h\.json: no image has both .*: '7' here, '8' there$"):
        match_files([eight, results], [other])
    both = write("both.json", [{"image_id": 7, "caption": "x"}, {"image_id": 8, "caption": "x"}])
    with pytest.raises(DataError, match=r"h8\.json and .*h\.json: no image with references has a"):
        match_files([eight, results], [both])
    twice = write("t.csv", "image,caption\n7,x\na/7.jpg,y")
    with pytest.raises(DataError, match=r"t\.csv: '7' and 'a/7\.jpg' are one image, '7'$"):
        match_files([twice], [results])
    text = write("h.txt", "a dog\na cat\n")
    with pytest.raises(DataError, match=r"h\.txt: names no images, so it cannot .*r\.json; give"):
        match_files([text], [other])
    with pytest.raises(DataError, match=r"r\.txt: 1 lines, but .*h\.txt has 2; expected as many$"):
        match_files([text], [write("r.txt", "x")])


def test_coco_results_are_read_back(tmp_path):
    names = ["COCO_val2014_000000391895.jpg", "val2017/000000000042.jpg", "7"]
    ids = coco_ids(names)
    assert ids == [391895, 42, 7]
    file = tmp_path / "captions_val2014_mrnn_results.json"
    write_coco_results(file, ids, ["a dog", "une niña", ""])
    assert json.loads(file.read_text()) == [
        {"image_id": 391895, "caption": "a dog"},
        {"image_id": 42, "caption": "une niña"},
        {"image_id": 7, "caption": ""},
    ]
    assert read_hypotheses(file) == {"391895": "a dog", "42": "une niña", "7": ""}


def test_coco_results_need_whole_numbers():
    with pytest.raises(DataError, match=r"^'walk\.jpg' holds no image id; the COCO server takes"):
        coco_ids(["7.jpg", "walk.jpg"])
    with pytest.raises(DataError, match=r"^'7\.jpg' and '007\.jpg' have one image id, 7$"):
        coco_ids(["7.jpg", "007.jpg"])


def test_cells_of_a_csv_that_are_kept_from_running_are_read_as_they_were(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("image,rank,text\n'=1.jpg,1,'-x\n''=1.jpg,1,'a\n")
    assert read_hypotheses(file) == {"=1.jpg": "-x", "'=1.jpg": "'a"}


CAPTIONS = {"7": "a dog", "42": "a cat"}
DICTIONARIES = (
    {"7": [{"caption": "a dog"}], "42": [{"caption": "a cat"}]},
    {"7": "a dog", "42": "a cat"},
    {"7": ["a dog"], "42": ["a cat"]},
    {"7": {"caption": "a dog"}, "42": {"caption": "a cat", "id": 3}},
    {"results": [{"image_id": 7.0, "caption": "a dog"}, {"image_id": "42.0", "caption": "a cat"}]},
    {"predictions": [{"image_id": "7", "caption": "a dog"}, {"image_id": 42, "caption": "a cat"}]},
    [{"filename": "7", "captions": [{"text": "a dog"}]}, {"image": "42", "comment": "a cat"}],
    {"images": [{"filename": "7", "sentences": [{"raw": "a dog", "tokens": []}]},
                {"filename": "42", "sentences": [{"raw": "a cat"}]}], "dataset": "coco"},
)  # fmt: skip


@pytest.mark.parametrize("content", DICTIONARIES, ids=str)
def test_forms_of_json(write, content):
    file = write("c.json", content)
    assert read_hypotheses(file) == CAPTIONS
    expected = {name: (caption,) for name, caption in CAPTIONS.items()}
    assert read_references([file]).captions == expected


def test_several_references_in_a_dictionary(write):
    captions = {"7": [{"caption": "a"}, {"caption": "b"}], "8": ["c"], "9": []}
    found = read_references([write("r.json", captions)]).captions
    assert found == {"7": ("a", "b"), "8": ("c",), "9": ()}


def test_an_id_twice_in_a_dictionary(write):
    with pytest.raises(DataError, match=r"h\.json: .*twice"):
        read_hypotheses(write("h.json", '{"7": "a dog", "7": "a cat"}'))


def test_what_a_file_was_taken_for_is_told(write):
    systems = [write("h.csv", "image;caption\n\u00e9.jpg;a dog\nx\\b.jpg;a cat\n")]
    references = write("r.json", {"e\u0301.jpg": ["A dog"], "x/b.jpg": ["A cat"]})
    matched = match_files(systems, [references])
    assert matched.systems == [["a dog", "a cat"]]
    assert matched.notes == [f"{systems[0]}: cells are divided by semicolons"]


def test_images_in_both_forms_of_unicode_stay_apart():
    references = References({"\u00e9.jpg": ("x",), "e\u0301.jpg": ("y",)})
    assert [references.find(name) for name in references.captions] == list(references.captions)
    assert references.find("p\\e\u0301.jpg") is None


def test_images_of_annotations_that_are_no_list(write):
    content = {"images": 3, "annotations": []}
    with pytest.raises(DataError, match=r"r\.json: expected a list of objects, not 3"):
        read_references([write("r.json", content)])
