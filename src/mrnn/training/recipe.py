"""A recipe: all options of a training run, in one TOML file."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from mrnn.errors import DataError, OptionsError
from mrnn.files import in_plain_words, parse_toml, read_toml
from mrnn.model.config import DecodingOptions, ModelOptions, RerankingOptions, ResizeMode
from mrnn.model.image_encoder import DEFAULT_ENCODER, DEFAULT_RESIZE_MODE

RECIPES = Path(__file__).parents[1] / "recipes"
"""The recipes that ship in the package; `mrnn train` knows them by name."""


class EncoderChoice(BaseModel):
    """The encoder whose features a model is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default=DEFAULT_ENCODER, max_length=1000)
    resize_mode: ResizeMode = DEFAULT_RESIZE_MODE


class TrainingOptions(BaseModel):
    """The cost function, and how it is minimized."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**32)
    min_count: int = Field(default=3, ge=1)
    """Least occurrences in train of a word of the vocabulary."""
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=12, ge=1)
    learning_rate: FiniteFloat = Field(default=1e-3, gt=0)
    warm_up: FiniteFloat = Field(default=0.05, ge=0, lt=1)
    """Fraction of all steps in which the rate rises; then it falls to 0 along a cosine."""
    weight_penalty: FiniteFloat = Field(default=1e-8, ge=0)
    """The paper's lambda: the cost is mean bits a word + lambda ||theta||^2."""
    weight_decay: FiniteFloat = Field(default=0.0, ge=0)
    """Decoupled weight decay: each step shrinks every weight by this times the learning rate."""
    clip: FiniteFloat = Field(default=5.0, gt=0)
    """Largest norm of the gradient."""
    average: FiniteFloat = Field(default=0.0, ge=0, lt=1)
    """Decay a step of the running average of weights that is kept; 0 keeps the last weights."""
    patience: int = Field(default=3, ge=1)
    """Epochs without a better dev perplexity, after which training stops."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; bfloat16 is faster on processors that support it."""
    shares: Literal[1, 2, 4, 8, 16, 32, 64] = 1
    """Parts of a batch, which several processes divide among themselves."""
    held_out: int = Field(default=0, ge=0)
    """Photos of train, evenly spaced, that neither the network nor its heads are trained on."""


class TextOptions(BaseModel):
    """How the network learns from captions without photos, before it learns from pairs.

    Without such captions, no option counts. All that is not here is as in `TrainingOptions`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=3, ge=1)
    learning_rate: FiniteFloat = Field(default=1e-3, gt=0)
    min_count: int = Field(default=15, ge=1)
    """Least occurrences in the text of a word of the vocabulary that is rare in train."""


class JointEmbeddingOptions(BaseModel):
    """How a joint embedding is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=128, ge=1, le=65_536)
    """Dimensions of each part."""
    parts: int = Field(default=3, ge=1, le=100)
    """Parts that are trained separately, each from its own seed, and concatenated."""
    steps: int = Field(default=1000, ge=1)
    """Steps for each part."""
    batch_size: int = Field(default=500, ge=2)
    """Photos that compete with each other, each with one of its captions."""
    learning_rate: FiniteFloat = Field(default=1e-3, gt=0)
    weight_decay: FiniteFloat = Field(default=1e-2, ge=0)
    feature_dropout: FiniteFloat = Field(default=0.6, ge=0, lt=1)
    word_dropout: FiniteFloat = Field(default=0.3, ge=0, lt=1)
    temperature: FiniteFloat = Field(default=0.05, gt=0)
    """Initial temperature; it is learned."""
    seed: int = Field(default=0, ge=0, lt=2**32)


class NeighbourOptions(BaseModel):
    """How photos of text are joined with photos whose captions resemble theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(default=200, ge=1)
    """The most that are joined with a photo."""
    similarity: FiniteFloat = Field(default=0.6, ge=-1, le=1)
    """Cosine of CIDEr vectors at which one counts as much as the photo itself."""
    temperature: FiniteFloat = Field(default=0.05, ge=1e-3)
    """Difference of the cosine at which it counts e times as much."""


class CiderPredictorOptions(BaseModel):
    """How the regression of a CIDEr predictor is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ngrams: int = Field(default=10_000, ge=1)
    """Number of n-grams that are predicted: the commonest, see `CiderVectors`."""
    directions: int = Field(default=384, ge=1)
    """Rank of the regression matrix."""
    penalty: FiniteFloat = Field(default=0.15, ge=1e-6)
    """Ridge penalty, in units of the mean square of a centred, power-normalized feature."""
    neighbours: NeighbourOptions = NeighbourOptions()


class ThingPredictorOptions(BaseModel):
    """How the regressions of a thing predictor are fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_count: int = Field(default=20, ge=1)
    """Train photos whose captions name a thing that is predicted, at least."""
    penalty: FiniteFloat = Field(default=0.06, gt=0)
    """L2 penalty, in nats a photo, on weights for features of unit deviation."""
    steps: int = Field(default=60, ge=1)
    """Iterations of L-BFGS."""


class HeadOptions(BaseModel):
    """How the heads of a model are trained: tables of a recipe that do not change the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    joint_embedding: JointEmbeddingOptions = JointEmbeddingOptions()
    cider_predictor: CiderPredictorOptions = CiderPredictorOptions()
    thing_predictor: ThingPredictorOptions = ThingPredictorOptions()


class Recipe(BaseModel):
    """A complete recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=100)
    encoder: EncoderChoice = EncoderChoice()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()
    text: TextOptions = TextOptions()
    decoding: DecodingOptions = DecodingOptions()
    reranking: RerankingOptions = RerankingOptions()
    joint_embedding: JointEmbeddingOptions | None = None
    """Trained after the network, with the other heads; None for a model without heads."""
    cider_predictor: CiderPredictorOptions = CiderPredictorOptions()
    thing_predictor: ThingPredictorOptions = ThingPredictorOptions()

    @property
    def heads(self) -> HeadOptions | None:
        """The tables of the heads; None for a model without heads."""
        if self.joint_embedding is None:
            return None
        return HeadOptions(**{name: getattr(self, name) for name in HeadOptions.model_fields})


def load_recipe(file: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file or of the package; each setting is a "table.key=value".

    Raises OptionsError.
    """
    path = Path(file)
    if not path.is_file() and (RECIPES / f"{file}.toml").exists():
        path = RECIPES / f"{file}.toml"  # even beside a dataset folder of that name
    if not path.exists():
        shipped = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise OptionsError(f"There is no recipe {file}; give a file, or one of {shipped}")
    try:
        content = read_toml(path)
    except DataError as error:
        raise OptionsError(f"{error}; give a recipe, such as {RECIPES / 'flickr8k.toml'}") from None
    for setting in settings:
        _apply(content, setting)
    where = f"{path} with --set {' '.join(settings)}" if settings else str(path)
    try:
        return Recipe.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        raise options_error(error, Recipe, where) from error
    except RecursionError:
        raise OptionsError(f"{where}: nested too deeply for a recipe") from None


def _apply(content: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    *tables, name = key.strip().split(".")
    if not equals or not name:
        raise OptionsError(f"{setting!r} is not a setting; write table.key=value")
    try:
        value = parse_toml(f"value = {text}", setting)["value"]
    except DataError:
        value = text.strip()
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise OptionsError(f"{setting!r}: {table} is not a table")
    content[name] = value


def options_error(error: ValidationError, options: type[BaseModel], where: str) -> OptionsError:
    """The first problem that pydantic found; for an unknown key also the nearest known one."""
    first = error.errors()[0]
    if first["type"] == "value_error":  # of a table as a whole: its keys do not fit together
        return OptionsError(": ".join([where, *map(str, first["loc"]), str(first["ctx"]["error"])]))
    *tables, key = map(str, first["loc"])
    place = ".".join([*tables, key])
    if first["type"] != "extra_forbidden":
        return OptionsError(f"{where}: {place}: {in_plain_words(first)}")
    known: Any = options
    for table in tables:
        known = _table(known, table)
    near = difflib.get_close_matches(key, known.model_fields, 1, cutoff=0)
    nearest = ".".join([*tables, *near])
    for table in options.model_fields:
        if key in getattr(_table(options, table), "model_fields", ()):
            nearest = f"{table}.{key}"
            break
    return OptionsError(f"{where}: there is no key {place}; did you mean {nearest}?")


def _table(options: Any, name: str) -> Any:  # noqa: ANN401
    """The options of a table, which may be optional."""
    annotation = options.model_fields[name].annotation
    return (get_args(annotation) or (annotation,))[0]
