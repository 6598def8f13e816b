"""Recurrent layers: Elman RNN, GRU and LSTM, all with one interface.

The paper's network has one Elman layer with ReLU. Every class has a `state_size`, and takes a whole
sentence or its next word. The state is one row a sentence, so decoding can gather rows of it.

Letters: B batch, T words, D input, R recurrent, S state.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.model.config import Activation, Kind
from mrnn.shapes import Float


class ElmanLayer(nn.Module):
    """The paper's layer, r(t) = f(U r(t-1) + w(t)); w(t) has the size of r(t)."""

    def __init__(self, size: int, activation: Activation) -> None:
        super().__init__()
        self.state_size = size
        self.activate = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}[
            activation
        ]
        # ReLU has no upper bound: with U = 0.9 I a state neither explodes nor is forgotten. The
        # others saturate; an orthogonal U keeps lengths where f is nearly linear.
        self.weight = nn.Parameter(0.9 * torch.eye(size))
        if activation != "relu":
            nn.init.orthogonal_(self.weight)

    def forward(
        self, inputs: Float[Tensor, "B T R"], state: Float[Tensor, "B R"]
    ) -> tuple[Float[Tensor, "B T R"], Float[Tensor, "B R"]]:
        """Every r(t), and the last."""
        states = []
        for w in inputs.unbind(1):
            state = self.activate(functional.linear(state, self.weight) + w)
            states.append(state)
        return torch.stack(states, 1), state


class StackedElman(nn.Module):
    """Several Elman layers; the input of each is a linear map of the states of the one below."""

    def __init__(self, size: int, activation: Activation, layers: int) -> None:
        super().__init__()
        self.state_size = layers * size
        self.layers = nn.ModuleList(ElmanLayer(size, activation) for _ in range(layers))
        self.maps = nn.ModuleList(nn.Linear(size, size) for _ in range(layers - 1))
        if activation == "relu":  # with U = 0.9 I a layer sums about ten of its inputs
            with torch.no_grad():
                for weight in self.maps.parameters():
                    weight.mul_(0.1)

    def forward(
        self, inputs: Float[Tensor, "B T R"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T R"], Float[Tensor, "B S"]]:
        """Every state of the highest layer, and the last states of all layers."""
        last = []
        for index, start in enumerate(state.chunk(len(self.layers), 1)):
            mapped = self.maps[index - 1](inputs) if index else inputs
            inputs, end = self.layers[index](mapped, start)
            last.append(end)
        return inputs, torch.cat(last, 1)


class GatedLayers(nn.Module):
    """PyTorch's GRU or LSTM. A state holds h of all layers, then, for the LSTM, c of all layers."""

    def __init__(
        self, kind: Literal["gru", "lstm"], input_size: int, size: int, layers: int
    ) -> None:
        super().__init__()
        self.parts = 2 if kind == "lstm" else 1
        self.state_size = self.parts * layers * size
        # PyTorch's initialization, uniform within 1 / sqrt(R), leaves the gates half open.
        gated = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
        self.layers = gated(input_size, size, layers, batch_first=True)

    def forward(
        self, inputs: Float[Tensor, "B T D"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T R"], Float[Tensor, "B S"]]:
        """Every h of the highest layer, and the last state."""
        shape = (len(state), self.parts, self.layers.num_layers, self.layers.hidden_size)
        start = state.view(shape).permute(1, 2, 0, 3).contiguous()
        outputs, end = self.layers(inputs, start[0] if self.parts == 1 else tuple(start))
        last = end[None] if self.parts == 1 else torch.stack(end)
        return outputs, last.permute(2, 0, 1, 3).flatten(1)


Recurrence = ElmanLayer | StackedElman | GatedLayers


def recurrence_of(kind: Kind, input_size: int, size: int, layers: int) -> Recurrence:
    """The recurrent layers of a network. For an Elman RNN, `input_size` must equal `size`."""
    if kind == "gru" or kind == "lstm":
        return GatedLayers(kind, input_size, size, layers)
    return ElmanLayer(size, kind) if layers == 1 else StackedElman(size, kind, layers)
