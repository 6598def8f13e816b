"""The oracle: a checkpoint's network as training defines it, one forward pass at a time."""

import numpy as np
import torch
from safetensors.torch import load_file

from mrnn.model.checkpoint import WEIGHTS
from mrnn.model.quantization import dequantize
from mrnn.training.network import network_of


def torch_network(checkpoint):
    """With the weights of the checkpoint's file."""
    network = network_of(checkpoint.config.model)
    stored = {name: t.numpy() for name, t in load_file(checkpoint.folder / WEIGHTS).items()}
    weights = {name: torch.from_numpy(array) for name, array in dequantize(stored).items()}
    named = {name for name, _ in network.named_parameters()}
    network.load_state_dict({n: w for n, w in weights.items() if n in named}, strict=False)
    return network.eval()


def log_probabilities(network, words, features):
    """Nats [B T V] of every next word, in one forward pass."""
    language, _ = network.encode_words(words, network.initial_state(len(words)))
    return network.fuse(language, network.encode_image(features)[:, None])


def word_log_likelihoods(network, sentence, feature):
    """Nats of each word and of `<eos>`, in one forward pass of one pair."""
    words, targets = torch.tensor([[0, *sentence]]), torch.tensor([*sentence, 1])
    with torch.no_grad():
        found = log_probabilities(network, words, torch.from_numpy(np.float32(feature))[None])[0]
    return found[torch.arange(len(targets)), targets].double().numpy()
