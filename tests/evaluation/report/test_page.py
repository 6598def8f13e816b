"""The page by an HTML parser, and in a real browser where there is one."""

import base64
import hashlib
import html.parser
import io
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mrnn.captioning.results import Caption, Word
from mrnn.evaluation.captions import score
from mrnn.evaluation.comparison import compare
from mrnn.evaluation.evaluate import EvaluationReport
from mrnn.evaluation.perplexity import COUNTED
from mrnn.evaluation.report.page import report_page
from mrnn.evaluation.report.ranks import PhotoRanks
from mrnn.evaluation.report.report import Report, RunReport, ScoredCaption, ShownImage, Thumbnail
from mrnn.evaluation.retrieval import RetrievalScores
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.model.epochs import EpochDone
from mrnn.tokenizer import tokenize

REFERENCES = [("a red wall", "the wall is red"), ("a green wall",), ("a blue wall", "blue")]
ALONE = {"br", "hr", "img", "input", "link", "meta"}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(html.parser.HTMLParser):
    """The elements of a page, with their attributes, their text, and whether all were closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == "wbr":  # where a path may break, however many there are
            return
        self.elements.append((tag, dict(attributes)))
        if tag not in ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def all(self, tag, **wanted):
        return [
            a for t, a in self.elements
            if t == tag and all(a.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]  # fmt: skip


def thumbnail():
    stream = io.BytesIO()
    Image.new("RGB", (24, 16), "red").save(stream, "JPEG")
    return Thumbnail(jpeg=stream.getvalue(), width=24, height=16)


def caption(words, probability=-0.5, cider=1.0):
    said = tuple(Word(word=word, log_probability=probability * n) for n, word in enumerate(words))
    total = sum(word.log_probability for word in said)
    one = Caption(text=" ".join(words), log_probability=total, words=said)
    return ScoredCaption(caption=one, cider=cider, bleu_4=0.25, invented=("dog", "<cat>"))


def run_report(said, epochs=(), name="run", vocabulary_words=1234):
    references = [[tokenize(text) for text in texts] for texts in REFERENCES]
    scores, statistics = score(list(map(tokenize, said)), references, with_meteor=False)
    given = scores.settings | COUNTED | {
        "vocabulary_words": vocabulary_words, "recipe": "tiny", "encoder": "colour",
        **DecodingOptions().model_dump(), **RerankingOptions().model_dump(),
    }  # fmt: skip
    figures = EvaluationReport(
        perplexity=12.5, perplexity_without_eos=14.25, generation=scores.generation,
        settings=given, intervals=scores.intervals, notes=scores.notes, captions=tuple(said),
        ciders=tuple(statistics.cider),
    )  # fmt: skip
    return RunReport(name=name, figures=figures, epochs=epochs)


def make(runs=1, references=REFERENCES, name="photo", words=("a", "red", "wall"), ranks=None):
    """A report of three photos, of which the second has no picture."""
    epochs = tuple(
        EpochDone(epoch=n, train_perplexity=30.0 / n, dev_perplexity=20.0 / n, distinct=0.5,
                  shuffled_perplexity=None, bleu_4=0.1, cider=0.2, best=True, words_per_second=9.0,
                  seconds=1.0)
        for n in (1, 2, 3)
    )  # fmt: skip
    said = [["a red wall", "a red wall", "a blue wall"], ["a wall", "a green wall", "blue"]][:runs]
    ciders = [[0.1, 2.0, 0.7], [0.4, 0.1, 0.7]]
    images = [
        ShownImage(
            name=f"{name}{place}", references=references[place],
            thumbnail=None if place == 1 else thumbnail(),
            problem=f"{name}1: no such file" if place == 1 else "",
            captions=tuple(
                (caption(words, cider=cider[place]), caption(words[:1])) for cider in ciders[:runs]
            ),
            ranks=(ranks,) * runs,
        )
        for place in range(3)
    ]  # fmt: skip
    comparison = None
    if runs == 2:
        comparison = compare(["0", "1", "2"], *said, REFERENCES, with_meteor=False)
    return Report(
        data=f"data/{name}", split="dev", comparison=comparison, images=tuple(images),
        runs=tuple(
            run_report(said[run], epochs if run == 0 else (), f"{name}-{run}", 1234 + run)
            for run in range(runs)
        ),
    )  # fmt: skip


@pytest.mark.parametrize("runs", [1, 2])
def test_nothing_is_loaded_from_elsewhere(runs):
    text = report_page(make(runs))
    page = Page(text)
    for _, attributes in page.elements:
        assert not {"srcset", "background", "action", "data", "style"} & attributes.keys()
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("src", "data:").startswith("data:image/jpeg;base64,") or (
            "src" not in attributes
        )
    assert not page.all("link") + page.all("iframe") + page.all("object")
    assert not re.search(r"@import|url\(|https?:|fetch|import\(", text)
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    script = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in policy["content"]  # noqa: E501  # fmt: skip


def test_photos_come_best_first_with_what_the_script_sorts_by():
    items = [a for a in Page(report_page(make())).all("li") if "data-place" in a]
    assert [item["data-place"] for item in items] == ["1", "2", "0"]
    assert [float(item["data-cider0"]) for item in items] == [2.0, 0.7, 0.1]
    two = [a for a in Page(report_page(make(2))).all("li") if "data-place" in a]
    assert [item["data-place"] for item in two] == ["1", "2", "0"]
    assert [item["data-winner"] for item in two] == ["A", "equal", "B"]
    assert [float(item["data-ahead"]) for item in two] == pytest.approx([1.9, 0.0, -0.3])


@pytest.mark.parametrize("runs", [1, 2])
def test_each_order_is_of_something_that_the_photos_have(runs):
    page = Page(report_page(make(runs)))
    orders = [a["value"].split() for a in page.all("option") if " " in a["value"]]
    assert len(orders) >= 5
    for item in (a for a in page.all("li") if "data-place" in a):
        assert all(f"data-{key}" in item and sign in ("1", "-1") for key, sign in orders)


def test_captions_have_their_scores_and_words_their_probability():
    page = Page(report_page(make()))
    scores = "log P -1.50, P a word 0.69, CIDEr-D 2.00, BLEU-4 0.25, invented: dog, <cat>"
    assert f"a red wall {scores}" in page.text
    assert {"class": "p0", "title": "P = 0.607"} in page.all("span")
    assert {"class": "p1", "title": "P = 0.368"} in page.all("span")
    assert "the wall is red" in page.text


def test_brackets_and_scripts_without_spaces_are_whole():
    for words, text in ((("a", "-lrb-", "b", "-rrb-"), "a (b)"), (("一", "只", "狗"), "一只狗")):
        scored = caption(words)
        found = scored.model_copy(
            update={"caption": scored.caption.model_copy(update={"text": text})}
        )
        report = make()
        image = report.images[0].model_copy(update={"captions": ((found,),)})
        page = Page(report_page(report.model_copy(update={"images": (image,)})))
        assert f"{text} log P" in page.text


def test_figures_have_intervals_and_what_they_depend_on():
    report = make(2)
    page = Page(report_page(report))
    found = report.comparison.differences["cider"]
    low, high = report.runs[0].figures.intervals["cider"]
    assert f"CIDEr-D {found.a:.3f} {low:.3f} to {high:.3f}".replace(" ", "") in page.text.replace(
        " ", ""
    )
    assert f"{found.difference:+.3f}" in page.text
    assert "document frequencies of these references" in page.text
    assert "the same without <eos>; a vocabulary of 1,234 and one of 1,235 words" in page.text
    assert "References: c1-2." in page.text
    assert "METEOR n/a".replace(" ", "") in page.text.replace(" ", "")
    assert "Note: meteor: not asked for" in page.text


def test_charts_are_there_and_a_run_without_a_curve_is_named():
    page = Page(report_page(make(2)))
    assert len(page.all("svg", role="img")) == 3
    assert "photo-1 holds no metrics.jsonl, so its training curve is not shown" in page.text
    assert "holds no metrics.jsonl" not in Page(report_page(make())).text


def test_pictures_have_a_text_and_one_that_is_missing_says_why():
    page = Page(report_page(make()))
    assert [image["alt"] for image in page.all("img")] == ["a blue wall", "a red wall"]
    assert "No picture: photo1: no such file" in page.text


def test_figures_of_retrieval_are_shown_where_there_are_any():
    report = make(2)
    figure = {"r_at_1": 25.0, "r_at_5": 60.0, "r_at_10": 75.5, "median_rank": 4, "mean_rank": 9.5}
    directions = dict.fromkeys(RetrievalScores.model_fields, figure)
    retrieval = RetrievalScores.model_validate(directions)
    keys = ("r@1", "r@5", "r@10", "median_rank", "mean_rank")
    intervals = {
        f"{direction}.{key}": (place + 0.25, place + 20.5)
        for direction in directions
        for place, key in enumerate(keys)
    }
    figures = report.runs[1].figures
    settings = {
        "candidate_images": 4, "candidate_sentences": 8, "retrieval": "two-stage",
        "likelihoods": "of some", "marginal_images": 10, "equal_scores": "by index",
    }  # fmt: skip
    changes = {
        "retrieval": retrieval,
        "settings": figures.settings | settings,
        "intervals": figures.intervals | intervals,
    }
    ranked = report.runs[1].model_copy(update={"figures": figures.model_copy(update=changes)})
    page = Page(report_page(report.model_copy(update={"runs": (report.runs[0], ranked)})))
    text = page.text.replace(" ", "")
    for direction, what in (
        ("image_to_sentence", "percent of photos; 8 sentences compete"),
        ("sentence_to_image", "percent of sentences; 4 photos compete"),
    ):
        for key, name in (("r@1", "R@1"), ("median_rank", "median rank")):
            low, high = intervals[f"{direction}.{key}"]
            value = retrieval.model_dump()[direction][key]
            depends = what if key == "r@1" else what.partition("; ")[2]
            row = (
                f"{name}, {direction.replace('_', ' ')} n/a {value:.1f} {low:.1f} to {high:.1f}"
                f" {depends}"
            )
            assert row.replace(" ", "") in text
    assert "Retrieval: two-stage, likelihoods of some, P(sentence) over the 10 nearest" in page.text
    assert "photo-0 has no retrieval head" in page.text
    assert "photo-1 has no retrieval head" not in page.text


def test_ranks_are_shown_where_there_are_any():
    assert "Retrieval:" not in Page(report_page(make())).text
    page = Page(report_page(make(ranks=PhotoRanks(sentence=3, photos=(1, 1204)))))
    assert page.text.count("first sentence has rank 3; for its sentences it has rank 1, 1,204") == 3


def test_the_page_can_be_used_without_a_mouse_and_without_a_script():
    page = Page(report_page(make(2)))
    assert page.all("html", lang="en")
    assert [tag for tag, _ in page.elements].count("h1") == 1
    for tag in ("header", "main", "section", "article"):
        assert page.all(tag), tag
    (controls,) = page.all("div", class_="controls")
    assert "hidden" in controls  # until the script runs
    assert page.all("span", role="status")
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)


hostile = st.text(min_size=1, max_size=30) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$title ${list} $$", "</ol>",
     "' onclick='x", "&amp;&lt;", "\ud800", "]]>", "<!--", "</script><script>"]
)  # fmt: skip


@given(hostile, hostile, hostile)
@settings(max_examples=60)
def test_what_comes_from_data_stays_text(name, reference, word):
    plain = Page(report_page(make()))
    references = [(reference, "the wall is red"), ("a green wall",), ("a blue wall", "blue")]
    page = Page(report_page(make(references=references, name=name, words=(word, "red", "wall"))))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    for (_, found), (_, expected) in zip(page.elements, plain.elements, strict=True):
        assert found.keys() == expected.keys()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
@pytest.mark.parametrize("runs", [1, 2])
def test_a_browser_shows_it_and_sorts_it(tmp_path, runs):
    file = tmp_path / "report.html"
    hostile = '"><img src=x onerror=alert(1)><script>console.log("broken in")</script>'
    report = make(runs, references=[(hostile,), ("b",), ("c",)])
    file.write_text(report_page(report), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0",
         "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    page = Page(done.stdout)
    (controls,) = page.all("div", class_="controls")
    assert "hidden" not in controls  # the script ran, and to its end:
    assert "3 of 3 photos" in page.text
    assert [a["data-place"] for a in page.all("li") if "data-place" in a] == ["1", "2", "0"]
