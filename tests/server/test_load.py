"""A thousand clients at once."""

import re
from pathlib import Path

import pytest

from mrnn.model import image_encoder
from tests.cli.test_serve import served
from tests.conftest import COLOURS
from tests.server.crowd import ask_at_once
from tests.server.test_captions import png

pytestmark = pytest.mark.slow
MOST_MEMORY = 800_000
"""In kB."""


def peak_memory(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_thousand_requests_at_once_get_their_own_answers(confident_model):
    encoder = image_encoder.SHIPPED / "colour.onnx"
    photos = [png(colour, (600, 400)) for colour in COLOURS] + [b"no photo" * 50_000]
    with served("--model", confident_model, "--encoder-file", encoder) as (process, url):
        port = int(re.search(r":(\d+)", url)[1])
        alone = [ask_at_once(port, [photo])[0] for photo in photos]
        assert [status for status, _ in alone] == [200, 200, 200, 422]
        asked = [photos[number % 4] for number in range(1000)]
        answers = ask_at_once(port, asked)
        wrong = {
            status
            for number, (status, content) in enumerate(answers)
            if (status, content) != alone[number % 4] and status != 503
        }
        assert wrong == set()
        assert sum(status == 200 for status, _ in answers) >= 500
        assert peak_memory(process) < MOST_MEMORY
        assert ask_at_once(port, photos) == alone
        assert process.poll() is None
