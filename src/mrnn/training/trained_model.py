"""A network in training as a model's folder."""

from dataclasses import dataclass
from pathlib import Path

from mrnn.model.checkpoint import CONFIG, FORMAT, VOCABULARY, save_weights
from mrnn.model.config import CheckpointConfig, EncoderIdentity
from mrnn.model.familiarity import Familiarity
from mrnn.model.network import WEIGHTS, graph_digests
from mrnn.outputs import write_whole
from mrnn.tokenizer import Vocabulary
from mrnn.training.export import export_graphs
from mrnn.training.network import Network
from mrnn.training.optimization import weights_of
from mrnn.training.recipe import Recipe


@dataclass(frozen=True)
class TrainedModel:
    """A network in training, and what else its folder holds."""

    recipe: Recipe
    network: Network
    vocabulary: Vocabulary
    encoder: EncoderIdentity
    familiarity: Familiarity

    def save(self, folder: Path) -> None:
        """Write the model's folder; it is one as soon as config.json, the last file, is there.

        Of a folder that this model was saved to before only the weights change, at once.
        """
        weights = {name: w.cpu().numpy() for name, w in weights_of(self.network).items()}
        folder.mkdir(parents=True, exist_ok=True)
        self.vocabulary.save(folder / VOCABULARY)
        save_weights(folder / WEIGHTS, weights, self.familiarity)
        export_graphs(folder, self.network.config)
        self.save_config(folder)

    def save_config(self, folder: Path) -> None:
        """Write config.json, with the recipe's present options of decoding and reranking."""
        config = CheckpointConfig(
            format=FORMAT,
            recipe=self.recipe.name,
            model=self.network.config,
            encoder=self.encoder,
            decoding=self.recipe.decoding,
            reranking=self.recipe.reranking,
            graphs=graph_digests(folder, self.network.config),
            familiarity_median=self.familiarity.median,
            familiarity_edge=self.familiarity.edge,
            held_out=self.recipe.training.held_out,
        )
        write_whole(folder / CONFIG, config.model_dump_json(indent=2) + "\n")
