import re

from tests.example_photos import PHOTOS


def test_the_demo_captions_the_examples(mrnn):
    code, out, err = mrnn("demo")
    assert code == 0
    names = [line.split(":")[0] for line in out.splitlines() if not line.startswith("  (")]
    assert names == sorted(photo.name for photo in PHOTOS)
    assert "(a guess: " in out
    assert re.search(r"\n  \(confidence 0\.\d\d\)\n", out)
    assert re.search(r"\n  \(tags: [a-z ]+(, [a-z ]+)*\)\n", out)
    assert re.fullmatch(r"The photos in .*examples\. Your own: mrnn caption PHOTO\.\.\.\n", err)
