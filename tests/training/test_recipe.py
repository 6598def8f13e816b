import tomllib

import pytest

from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions
from mrnn.training.recipe import RECIPES, Recipe, load_recipe

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.toml"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[training]\nepochs = 2\n[model]\nrecurrent_size = 9\n')
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_recipes_that_ship_are_known_by_name(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    content = tomllib.loads((RECIPES / f"{name}.toml").read_text())
    for table, values in content.items():
        if isinstance(values, dict):
            assert recipe.model_dump()[table].items() >= values.items()


def test_there_are_recipes():
    assert SHIPPED == ["coco", "flickr8k", "paper", "rnn-base", "simple-rnn"]


def test_what_a_file_does_not_say_has_its_default(file):
    recipe = load_recipe(file)
    assert (recipe.name, recipe.training.epochs, recipe.model.recurrent_size) == ("mine", 2, 9)
    assert recipe.training.min_count == 3
    assert recipe.decoding == DecodingOptions()
    assert load_recipe(str(file)) == recipe


def test_a_file_goes_before_a_name(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    file.rename("paper")
    assert load_recipe("paper").name == "mine"


def test_settings_change_a_recipe_in_order(file):
    settings = [
        "training.epochs=7",
        "training.learning_rate = 0.5",
        "model.sees_image=false",
        "encoder.resize_mode=crop",
        'name="yours"',
        "training.epochs=8",
    ]
    recipe = load_recipe(file, settings)
    assert recipe == Recipe.model_validate(
        {
            "name": "yours",
            "training": {"epochs": 8, "learning_rate": 0.5},
            "model": {"recurrent_size": 9, "sees_image": False},
            "encoder": {"resize_mode": "crop"},
        }
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.epoch=3"], "there is no key training.epoch; did you mean .*epochs\\?$"),
        (["training.batchsize=3"], "no key training.batchsize; did you mean .*batch_size\\?$"),
        (["trainig.epochs=3"], "no key trainig; did you mean training\\?$"),
        (["qqq=3"], "there is no key qqq; did you mean "),
        (["epochs=2"], "there is no key epochs; did you mean training.epochs\\?$"),
        (["seed=2"], "there is no key seed; did you mean training.seed\\?$"),
        (["model.beam_size=2"], "no key model.beam_size; did you mean decoding.beam_size\\?$"),
        (["cider_predictor.ngram=3"], "no key .*ngram; did you mean cider_predictor.ngrams\\?$"),
        (["reranking.cider=3"], "no key reranking.cider; .* reranking.predicted_cider_weight\\?$"),
        (["joint_embedding.part=3"], "no key joint_embedding.part; .* joint_embedding.parts\\?$"),
        (["training.epochs.more=3"], "'training.epochs.more=3': epochs is not a table$"),
        (["epochs"], "'epochs' is not a setting; write table.key=value$"),
        (["=3"], "'=3' is not a setting; write table.key=value$"),
        (["training.=3"], "'training.=3' is not a setting"),
        (["training.epochs=0"], "training.epochs: expected .*equal to 1, not 0"),
        (["training.epochs=many"], "training.epochs: expected a whole number, not 'many'"),
        (["training.learning_rate=nan"], "learning_rate: expected a finite number, not nan"),
        (["training.precision=auto"], "training.precision: .*'float32' or 'bfloat16', not 'auto'$"),
        (
            ["encoder.resize_mode=stretch"],
            "encoder.resize_mode: .*'crop', 'squash', .* 'ten-crop', not 'stretch'$",
        ),
        (["model.dropout=1"], "model.dropout: expected less than 1, not 1$"),
        (["model.embedding_layers=1"], "model: a relu recurrence adds .*_size, 9, not 128$"),
        (["model.network=simple"], "model.network: .*'m-rnn' or 'simple-rnn', not 'simple'$"),
        (["model=3"], "model: expected an object"),
        (["training.warm_up=-0.1"], "training.warm_up: .*greater than or equal to 0, not -0.1$"),
        (["training.learning_rate=inf"], "training.learning_rate: expected a finite number, not i"),
        (["training.epochs=2.0"], "training.epochs: expected a whole number, not 2.0"),
        (["training.epochs=true"], "training.epochs: expected a whole number, not True"),
        (["training.epochs='2'"], "training.epochs: expected a whole number, not '2'"),
        (["training.epochs=1979-05-27"], "training.epochs: expected a whole number, not '1979-05"),
        (["training.epochs=" + "[" * 100_000], "training.epochs: expected a whole number, not"),
        (["model.sees_image=1"], "model.sees_image: expected true or false, not 1"),
        (["model.recurrent_layers=1000000000"], "expected less than or equal to 100, not 10000"),
        (["joint_embedding.size=1000000000"], "size: expected less than or equal to 65536, not 1"),
        (["a." * 100_000 + "a=1"], "nested too deeply"),
        (["training.epochs=" + "x" * 3_000_000], "training.epochs: expected a whole number, not"),
        (["decoding.beam_size=1.5"], "decoding.beam_size: expected a whole number, not 1.5$"),
    ],
)  # fmt: skip
def test_impossible_settings(file, settings, message):
    with pytest.raises(OptionsError, match=message) as raised:
        load_recipe(file, settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", r"mine\.toml: not TOML \(Invalid value .*\); give a recipe, such as /"),
        (b"name = \xff", r"mine\.toml:1: not UTF-8; save the file as UTF-8; give a recipe"),
        (b"name = " + b"[" * 100_000, r"mine\.toml: nested too deeply for TOML"),
        (b"#" * 2_000_000, r"mine\.toml: larger than 1 MB, which no file of this kind is"),
        (b"name = '" + b"n" * 101 + b"'", r"mine\.toml: name: expected "),
        (b"[training]\nepochs = 3\n", r"mine\.toml: name: is missing$"),
        (b"name = 'x'\nseed = 3\n", r"mine\.toml: there is no key seed; did you mean "),
        (b"name = 3\n", r"mine\.toml: name: expected text, not 3$"),
    ],
)
def test_a_bad_file(file, content, message):
    file.write_bytes(content)
    with pytest.raises(OptionsError, match=message):
        load_recipe(file)


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(
        OptionsError, match=rf"^There is no recipe nonsense; give a file, or one of {SHIPPED[0]}"
    ):
        load_recipe("nonsense")
    with pytest.raises(OptionsError, match=r": a folder, not a file; give a recipe, such as /"):
        load_recipe(tmp_path)


def test_a_dataset_folder_of_the_same_name_hides_no_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flickr8k").mkdir()
    assert load_recipe("flickr8k") == load_recipe(RECIPES / "flickr8k.toml")
