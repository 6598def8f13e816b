from mrnn.model.checkpoint import Checkpoint
from mrnn.training.model_card import write_model_card
from mrnn.training.recipe import Recipe


def test_the_card_says_what_the_model_is(checkpoint, tmp_path):
    recipe = Recipe.model_validate({"name": "tiny", "training": {"epochs": 7}})
    checkpoint.save(tmp_path)
    write_model_card(
        tmp_path,
        checkpoint,
        recipe,
        data="walls",
        sizes={"train": (6_000, 30_000), "dev": (10, 20)},
        epoch=3,
        figures={"dev_perplexity": 17.5, "shuffled_perplexity": None, "bleu_4": 0.2},
    )
    card = (tmp_path / "MODEL_CARD.md").read_text()
    for fact in (
        "# tiny: a model trained by mrnn",
        "The dataset folder `walls`:\n\n- train: 6,000 photos, 30,000 captions\n- dev: 10 photos",
        "10 words and signs",
        "The terms of the training data apply to these weights.",
        "on features of colour (mean, squash, 8 px, weights 0000000000000000).",
        "- training: seed 0, minimum_count 3, batch_size 128, epochs 7,",
        "Of epoch 3, the best so far",
        "| dev_perplexity | 17.500 |\n| bleu_4 | 0.200 |\n\n",
        "mrnn evaluate RUN --data walls --split dev --beam-size 1\n",
    ):
        assert fact in card
    assert [path.name for path in tmp_path.glob("*.new")] == []
    (tmp_path / "MODEL_CARD.md").unlink()
    Checkpoint.load(tmp_path)  # which needs no card
