from dataclasses import replace

import pytest

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.data import read_training_data
from mrnn.training.model_card import write_model_card
from mrnn.training.recipe import Recipe
from mrnn.training.text import TrainingText
from mrnn.training.validation import DevFigures

FIGURES = DevFigures(
    dev_perplexity=17.5, shuffled_perplexity=30.25, distinct=0.5, bleu_4=0.2, cider=0.41
)


@pytest.fixture
def data(dataset, colour_encoder):
    colours = Dataset.load(dataset)
    data = read_training_data(colours, load_features(colours, colour_encoder.identity), 1)
    sizes = {"train": (6_000, 30_000), "dev": (10, 20)}
    return replace(data, folder="walls", sizes=sizes)


def card(tmp_path, encoder, data, figures=FIGURES):
    folder, recipe = tmp_path / "run", {"name": "tiny", "training": {"epochs": 7}}
    folder.mkdir(parents=True)
    recipe = Recipe.model_validate(recipe)
    write_model_card(folder, recipe, encoder.identity, data, 3, figures)
    (file,) = folder.iterdir()
    assert file.name == "MODEL_CARD.md"
    return file.read_text()


def test_the_card_says_what_the_model_is(colour_encoder, data, tmp_path):
    text = card(tmp_path, colour_encoder, data)
    for fact in (
        "# tiny: a model trained by mrnn",
        "The dataset folder `walls`:\n\n- train: 6,000 photos, 30,000 captions\n- dev: 10 photos",
        "10 words and special tokens",
        "The terms of the training data apply to these weights.",
        f"on features of {colour_encoder.identity}.",
        "- training: seed 0, min_count 3, batch_size 128, epochs 7,",
        "Epoch 3, the best so far",
        "| dev_perplexity | 17.500 |\n| shuffled_perplexity | 30.250 |\n| distinct | 0.500 |",
        "| bleu_4 | 0.200 |\n| cider | 0.410 |\n\n",
        "mrnn evaluate RUN --data walls --split dev --beam-size 1\n",
    ):
        assert fact in text


def test_a_figure_that_was_not_measured_is_left_out(colour_encoder, data, tmp_path):
    text = card(tmp_path, colour_encoder, data, replace(FIGURES, shuffled_perplexity=None))
    assert "| dev_perplexity | 17.500 |\n| distinct" in text


def test_the_card_names_the_text(colour_encoder, data, tmp_path):
    assert "Text without photos" not in card(tmp_path / "without", colour_encoder, data)
    captions = EncodedCaptions.of([[["a", "wall"]]], data.vocabulary)
    text = TrainingText(captions, (("a.tsv.gz", 289_414), ("b.txt", 7)), 0, "")
    found = card(tmp_path / "with", colour_encoder, replace(data, text=text))
    for fact in (
        "dev: 10 photos, 20 captions\n\nText without photos, learned before the pairs:\n\n"
        "- a.tsv.gz: 289,414 captions\n- b.txt: 7 captions\n\nThe vocabulary comes from train",
        "from train and this text: 10 words",
        "- text: epochs 3, learning_rate 0.001, min_count 15",
    ):
        assert fact in found
