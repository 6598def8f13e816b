"""The page in a real browser, with the tiny model."""

import base64
import csv
import io
import json
import zipfile

import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.retrieval.search import PhotoIndex
from mrnn.server.access import Access
from mrnn.server.service import Service
from tests.server.browser import serious
from tests.server.conftest import running
from tests.server.test_captions import png

pytestmark = pytest.mark.slow
HOSTILE = "<img src=x onerror=\"document.title='owned'\">.png"
DROP = """async ([target, files]) => {
    const transfer = new DataTransfer();
    for (const [name, content] of files) {
        const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type: "image/png" }));
    }
    const event = new DragEvent(target, { dataTransfer: transfer, bubbles: true });
    if (target === "paste")
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));
    else document.body.dispatchEvent(event);
}"""


@pytest.fixture
def indexed(confident_model, colour_tags, colours, tmp_path):
    photos = [image.path for image in colours.images[:9]]
    PhotoIndex.build(photos, tmp_path / "walls.index", confident_model)
    (confident_model / "MODEL_CARD.md").write_text(
        "# Walls\n\nOf **colours** by `m-RNN`.\n\n| a | b |\n|---|---|\n| 1 | <b>2</b> |\n\n"
        "| c |\n|---|\n| 3 |\n\n- one [link](https://example.org)\n- [no](javascript:alert(1))"
        "\n\n```sh\nmrnn\n```\n",
        encoding="utf-8",
    )
    return Service(Captioner.load(confident_model), "1", index=tmp_path / "walls.index")


@pytest.fixture
def server(indexed):
    with running(indexed) as found:
        yield found


@pytest.fixture
def page(chromium, server):
    """The page; it may print no error, break no policy, and load nothing from elsewhere."""
    context = chromium.new_context(accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    opened = context.new_page()
    problems, asked = [], set()
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    opened.on("request", lambda request: asked.add(request.url))
    open_page(opened, server.url)
    yield opened
    assert {url for url in asked if not url.startswith((server.url, "blob:", "data:"))} == set()
    allowed = ("422", "404", "410", "400", "401")  # answers that the page shows
    expected = [f"status of {status}" for status in allowed] + ["net::ERR_FAILED"]
    assert [each for each in problems if not any(part in each for part in expected)] == []
    context.close()


def open_page(page, url):
    page.goto(url)
    page.wait_for_selector("html[data-ready]")


def drop(page, *names, event="drop", content=None):
    encoded = base64.b64encode(content or png()).decode()
    page.evaluate(DROP, [event, [[name, encoded] for name in names]])


def captioned(page, count):
    page.wait_for_function(
        "n => document.querySelectorAll('.card').length === n && "
        "![...document.querySelectorAll('.card')].some("
        "card => card.querySelector('.waiting') || card.textContent.includes('Waiting'))",
        arg=count,
    )
    page.wait_for_selector("#stop[hidden]", state="attached")  # the bar follows the cards
    page.wait_for_function(
        "() => !document.getElementById('progress-text').textContent.match(' of ')"
    )


def saved(page, format_):
    page.locator("#save > summary").click()
    with page.expect_download() as download:
        page.locator(f"[data-format={format_}]").click()
    with open(download.value.path(), "rb") as file:
        return download.value.suggested_filename, file.read()


def test_a_dropped_photo_gets_the_caption_of_the_api(page, server):
    drop(page, "red.png")
    captioned(page, 1)
    with server.client() as client:
        answer = client.post("/v1/caption", params={"n_best": 3}, content=png()).json()
    best = answer["captions"][0]["text"]
    card = page.locator(".card")
    assert card.locator(".caption").inner_text() == best
    assert card.locator("img").get_attribute("alt") == best
    assert "red.png" in card.locator(".card-name").inner_text()
    card.locator("summary").click()
    others = card.locator(".others button").all_inner_texts()
    assert (
        others
        == [each["text"] for each in answer["captions"] if each["text"] != best][: len(others)]
    )
    assert card.locator(".tags").inner_text().strip()
    assert card.locator(".meter").count() == 2
    assert page.locator("#progress-text").inner_text() == "1 photo"


def test_photos_are_chosen_or_pasted(page, tmp_path):
    folder = tmp_path / "chosen"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.png", "inner/b.png", "inner/.hidden.png", "inner/notes.txt"):
        (folder / name).write_bytes(png())
    page.set_input_files("#files", [folder / "a.png"])
    captioned(page, 1)
    page.set_input_files("#folder", folder)
    captioned(page, 3)
    drop(page, "image.png", event="paste")
    captioned(page, 4)
    names = page.locator(".card-name span:first-child").all_inner_texts()
    assert sorted(names) == ["a.png", "a.png", "b.png", "pasted-1.png"]


def test_edits_and_marks_outlive_a_reload(page, server):
    drop(page, "one.png", "two.png")
    captioned(page, 2)
    first, second = page.locator(".card").nth(0), page.locator(".card").nth(1)
    first.get_by_role("button", name="Edit").click()
    first.locator("textarea").fill("my own words")
    first.get_by_role("button", name="Done").click()
    second.get_by_role("button", name="Good").click()
    page.wait_for_timeout(300)
    open_page(page, server.url)
    captions = page.locator(".card .caption").all_inner_texts()
    assert captions[0] == "my own words"
    assert "The model's words" in page.locator(".card").nth(0).inner_text()
    assert page.locator(".card.good").count() == 1
    page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
    page.locator("#filter").select_option("good")
    assert page.locator(".card:visible").count() == 1


def test_hypotheses_are_chosen_and_captions_copied(page):
    drop(page, "one.png")
    captioned(page, 1)
    card = page.locator(".card")
    best = card.locator(".caption").inner_text()
    card.locator("summary").click()
    other = card.locator(".others button").first.inner_text()
    card.locator(".others button").first.click()
    assert card.locator(".caption").inner_text() == other != best
    card.get_by_role("button", name="Copy").click()
    card.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == other


def test_what_is_taken_away(page):
    drop(page, "=1+1.png", "b.png", "b.jpg")
    captioned(page, 3)
    card = page.locator(".card").nth(1)
    card.get_by_role("button", name="Edit").click()
    card.locator("textarea").fill('=HYPERLINK("x"), é 🐕')
    card.locator("textarea").press("Enter")
    card.get_by_role("button", name="Good").click()
    name, content = saved(page, "csv")
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert name == "captions.csv"
    assert [row["image"] for row in rows] == ["'=1+1.png", "b.png", "b.jpg"]
    assert rows[1]["text"] == '\'=HYPERLINK("x"), é 🐕'
    assert (rows[1]["good"], rows[1]["edited"], rows[2]["good"]) == ("yes", "yes", "")
    _, content = saved(page, "jsonl")
    lines = list(map(json.loads, content.decode().splitlines()))
    assert [line["image"] for line in lines] == ["=1+1.png", "b.png", "b.jpg"]
    assert lines[1]["text"] == '=HYPERLINK("x"), é 🐕'
    assert all(line["captions"][0]["words"] for line in lines)
    _, content = saved(page, "metadata")
    assert json.loads(content.splitlines()[1]) == {"file_name": "b.png", "text": lines[1]["text"]}
    page.locator("#save > summary").click()
    page.locator("#only-good").check()
    page.locator("#save > summary").click()
    _, content = saved(page, "zip")
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["b.txt"]
    page.locator("#save > summary").click()
    page.locator("#only-good").uncheck()
    page.locator("#save > summary").click()
    _, content = saved(page, "zip")
    whole = zipfile.ZipFile(io.BytesIO(content))
    assert whole.testzip() is None
    assert whole.namelist() == ["=1+1.txt", "b.txt", "b-2.txt"]
    assert whole.read("b.txt").decode() == '=HYPERLINK("x"), é 🐕\n'


def test_work_is_stopped_and_goes_on(page):
    drop(page, *(f"{number}.png" for number in range(40)))
    page.locator("#stop").click()
    page.locator("#go-on").wait_for()
    stopped = page.locator(".card", has_text="Stopped").count()
    assert 0 < stopped <= 40
    assert "stopped" in page.locator("#progress-text").inner_text()
    page.locator("#go-on").click()
    captioned(page, 40)
    assert page.locator("#progress-text").inner_text() == "40 photos"


def test_what_is_no_photo_says_so_in_one_line(page, server):
    drop(page, "bad.png", content=b"no image")
    page.locator(".failed").wait_for()
    assert page.locator(".failed").inner_text().startswith("bad.png: not a ")
    page.get_by_role("button", name="Remove", exact=True).click()
    assert page.locator(".card").count() == 0


def test_options_count_for_new_photos(page):
    page.locator("#options > summary").click()
    page.locator("[name=prefix]").fill("the wall is")
    page.locator("[name=force_words]").fill("green")
    assert page.locator("#options-set").inner_text() == "(2 set)"
    drop(page, "one.png")
    captioned(page, 1)
    text = page.locator(".card .caption").inner_text()
    assert text.startswith("the wall is")
    assert "green" in text
    page.locator("[name=force_words]").fill("walls")
    drop(page, "two.png")
    page.locator(".failed").wait_for()
    assert "the nearest that it knows is 'wall'" in page.locator(".failed").inner_text()


def test_hostile_names_and_captions_are_text(page, server):
    drop(page, HOSTILE)
    captioned(page, 1)
    card = page.locator(".card")
    assert HOSTILE in card.locator(".card-name").inner_text()
    card.get_by_role("button", name="Edit").click()
    card.locator("textarea").fill("<script>document.title='owned'</script>")
    card.locator("textarea").press("Enter")
    assert "<script>" in card.locator(".caption").inner_text()
    card.locator(".photo").click()
    assert "<script>" in page.locator("#viewer-text").inner_text()
    assert page.evaluate("document.querySelectorAll('main script, dialog script').length") == 0
    assert page.title() != "owned"


def test_cards_by_keyboard_alone(page):
    drop(page, "one.png", "two.png", "three.png")
    captioned(page, 3)
    page.locator(".card").nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("g")
    assert page.locator(".card").nth(1).get_attribute("class") == "card good"
    page.keyboard.press("e")
    page.keyboard.type(" and more")
    page.keyboard.press("Enter")
    assert page.locator(".card").nth(1).locator(".caption").inner_text().endswith(" and more")
    page.keyboard.press("Enter")
    assert page.locator("#viewer[open]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("#viewer[open]").count() == 0
    page.keyboard.press("End")
    page.keyboard.press("Delete")
    assert page.locator(".card").count() == 2
    assert page.evaluate("document.activeElement.classList.contains('card')")


def test_search_by_a_sentence_by_a_photo_and_like_a_find(page, server):
    page.get_by_role("link", name="Search").click()
    page.locator("[name=q]:focus").wait_for()  # the tab opens after the click
    page.keyboard.type("a zzz red wall")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.find').length === 9")
    assert (
        "Ignored, as the model does not know them: zzz" in page.locator("#search-body").inner_text()
    )
    with server.client() as client:
        best = client.get("/v1/search", params={"q": "a red wall"}).json()["results"][0]
        text = client.get(f"/v1/photos/{best['id']}/caption").json()["captions"][0]["text"]
    first = page.locator(".find").nth(0)
    assert first.locator(".card-name span").nth(0).get_attribute("title") == best["path"]
    page.wait_for_function("() => document.querySelector('.find .caption').textContent !== ''")
    assert first.locator("img").get_attribute("alt") == text
    page.keyboard.press("Tab")
    page.locator(".find .photo").nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    page.locator(".asked-photo").wait_for()
    assert "like=" in page.url
    page.reload()
    page.locator(".asked-photo").wait_for()
    page.go_back()
    page.wait_for_function("() => document.querySelector('[name=q]').value === 'a zzz red wall'")
    drop(page, "one.png")
    page.wait_for_function("() => document.body.textContent.includes('Photos like this one')")
    assert page.locator(".card").count() == 0
    page.keyboard.press("/")
    page.locator("[name=q]").fill("zzz")
    page.keyboard.press("Enter")
    page.locator("[role=alert]:visible").wait_for()
    assert (
        "The model knows no word of the query" in page.locator("[role=alert]:visible").inner_text()
    )


def test_the_card_of_the_model_is_rendered_as_text(page):
    page.get_by_role("link", name="Model").click()
    prose = page.locator(".prose")
    assert prose.locator("h2").inner_text() == "Walls"
    assert prose.locator("td").nth(1).inner_text() == "<b>2</b>"
    assert prose.locator("a").count() == 1
    assert prose.locator("a").get_attribute("href") == "https://example.org"
    assert prose.locator("pre").inner_text() == "mrnn"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium, server, theme):
    context = chromium.new_context(color_scheme=theme, bypass_csp=True)
    page = context.new_page()
    found = []

    def look(where):
        found.extend(serious(page, where))

    open_page(page, server.url)
    look("empty")
    drop(page, "one.png", "two.png", "three.png")
    drop(page, "bad.png", content=b"no image")
    captioned(page, 4)
    page.locator(".card").nth(0).locator("summary").click()
    page.locator(".card").nth(1).get_by_role("button", name="Good").click()
    page.locator(".card").nth(2).get_by_role("button", name="Edit").click()
    page.locator("#options > summary").click()
    page.locator("#save > summary").click()
    look("cards")
    page.goto(f"{server.url}#search?q=a+red+wall")
    page.locator(".find").nth(0).wait_for()
    look("search")
    page.goto(f"{server.url}#model")
    page.locator(".prose").wait_for()
    look("model")
    open_page(page, f"{server.url}docs")
    page.locator("summary").nth(0).click()
    look("docs")
    context.close()
    assert found == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(chromium, server, width):
    context = chromium.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    open_page(page, server.url)
    drop(page, f"{'long' * 60}.png")
    captioned(page, 1)
    page.locator(".card summary").click()
    for part in ("#caption", "#search?q=a+red+wall", "#model"):
        page.goto(f"{server.url}{part}")
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, part
    context.close()


def test_the_token_is_asked_for_and_kept(chromium, indexed):
    with running(indexed, Access(token="a long secret")) as server:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.get_by_label("Token").fill("wrong one")
        page.get_by_role("button", name="Go").click()
        page.get_by_label("Token").fill("a long secret")
        page.get_by_role("button", name="Go").click()
        page.wait_for_selector("html[data-ready]")
        assert "secret" not in page.url
        drop(page, "one.png")
        captioned(page, 1)
        page.goto(f"{server.url}#search?q=a+red+wall")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.find img')].some(i => i.naturalWidth)"
        )
        context.close()


def test_a_foreign_page_cannot_use_the_server(chromium, server):
    context = chromium.new_context()
    page = context.new_page()
    page.route("http://evil.example/", lambda route: route.fulfill(body="<title>evil</title>"))
    page.goto("http://evil.example/")
    tried = """async (url) => {
        const found = [];
        const sent = {method: "POST", body: "x", mode: "no-cors"};
        for (const request of [{}, sent, {mode: "no-cors"}]) {
            try {
                const answer = await fetch(url, request);
                found.push([answer.type, answer.status]);
            } catch (error) { found.push(["refused", 0]); }
        }
        return found;
    }"""
    for kind, status in page.evaluate(tried, f"{server.url}v1/caption"):
        assert (kind, status) in (("refused", 0), ("opaque", 0))
    with server.client() as client:
        text = client.get("/metrics").text
    assert 'path="/v1/caption",status="4' not in text  # refused before the endpoint
    assert 'mrnn_photos_total{result="failed"} 0' in text
    context.close()


def test_a_server_that_is_gone_is_told(page, server):
    page.route("**/v1/caption*", lambda route: route.abort())
    drop(page, "one.png")
    page.locator(".failed").wait_for()
    line = "The server does not answer; is mrnn serve still running?"
    assert page.locator(".failed").inner_text() == line
    page.unroute("**/v1/caption*")
    page.get_by_role("button", name="Try again").click()
    captioned(page, 1)
    page.locator(".card .caption").wait_for()
