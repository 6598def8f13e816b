import json

import pytest

from mrnn.errors import OptionsError
from mrnn.model.epochs import METRICS, EpochDone, read_epochs

EPOCH = EpochDone(
    epoch=1, train_perplexity=9.5, dev_perplexity=8.5, shuffled_perplexity=20, distinct=0.5,
    bleu_4=0.1, cider=0.2, best=True, words_per_second=1, seconds=2,
)  # fmt: skip


def test_what_goes_wrong_is_warned_of():
    assert EPOCH.warnings == ()
    few = EPOCH.model_copy(update={"distinct": 0.04})
    assert few.warnings == ("only 4% of the dev captions are distinct",)
    blind = EPOCH.model_copy(update={"shuffled_perplexity": 8.6})
    assert blind.warnings == (
        "the model ignores the image: shuffled photos do not raise perplexity",
    )


def test_epochs_are_read_as_they_were_written(tmp_path):
    assert read_epochs(tmp_path) == ()
    second = EPOCH.model_copy(update={"epoch": 2, "shuffled_perplexity": None})
    file = tmp_path / METRICS
    file.write_text(f"{EPOCH.model_dump_json()}\n{second.model_dump_json()}\n")
    assert read_epochs(tmp_path) == (EPOCH, second)


@pytest.mark.parametrize(
    "line", [b"{}", b"[" * 100_000, b"\xff", json.dumps({"epoch": 1}).encode()]
)
def test_another_file_is_refused(tmp_path, line):
    (tmp_path / METRICS).write_bytes(EPOCH.model_dump_json().encode() + b"\n" + line + b"\n")
    with pytest.raises(OptionsError, match=r"metrics\.jsonl:2 is not what mrnn train writes; move"):
        read_epochs(tmp_path)
