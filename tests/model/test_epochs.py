import pytest

from mrnn.errors import OptionsError
from mrnn.model.epochs import METRICS, EpochDone, read_epochs

EPOCH = EpochDone(
    epoch=1, train_perplexity=9, dev_perplexity=9, shuffled_perplexity=20, distinct=0.5,
    bleu_4=0, cider=0, best=True, words_per_second=1, seconds=1,
)  # fmt: skip


def test_an_ordinary_epoch_has_no_warnings():
    assert EPOCH.warnings == ()


def test_few_distinct_captions_are_warned_of():
    few = EPOCH.model_copy(update={"distinct": 0.04})
    assert few.warnings == ("only 4% of the dev captions are distinct",)


@pytest.mark.parametrize(("shuffled", "warned"), [(9.1, True), (9.2, False), (None, False)])
def test_a_model_that_ignores_the_image_is_warned_of(shuffled, warned):
    warnings = EPOCH.model_copy(update={"shuffled_perplexity": shuffled}).warnings
    told = "the model ignores the image: shuffled photos do not raise perplexity"
    assert warnings == ((told,) if warned else ())


def test_the_epochs_of_a_run_are_read(tmp_path):
    assert read_epochs(tmp_path) == ()
    second = EPOCH.model_copy(update={"epoch": 2, "shuffled_perplexity": None})
    lines = [epoch.model_dump_json() + "\n" for epoch in (EPOCH, second)]
    (tmp_path / METRICS).write_text("".join(lines))
    assert read_epochs(tmp_path) == (EPOCH, second)


@pytest.mark.parametrize("line", ["{}", "nothing", '{"epoch": 2'])
def test_a_line_of_another_form_is_refused(tmp_path, line):
    (tmp_path / METRICS).write_text(EPOCH.model_dump_json() + f"\n{line}\n")
    with pytest.raises(OptionsError, match=r"metrics\.jsonl:2 is not what mrnn train writes; move"):
        read_epochs(tmp_path)
