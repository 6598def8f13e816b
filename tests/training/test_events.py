from mrnn.training.events import EpochDone


def test_few_distinct_captions_are_warned_of():
    figures = {"train_perplexity": 9, "dev_perplexity": 9, "bleu_4": 0, "cider": 0, "best": True}
    epoch = EpochDone(
        epoch=1, shuffled_perplexity=20, distinct=0.04, words_per_second=1, seconds=1, **figures
    )
    assert epoch.warnings == ("only 4% of the dev captions are distinct",)
