"""Recurrent layers: from the words so far to a state, and from state to state.

The paper's is one layer of `Additive` with ReLU. All have the same face: `state_size`, and a call
that takes a whole sentence, or its next word, and a state as a row of numbers for each sentence.
So whoever decodes gathers the rows of a state without knowing what is in them.

Letters: B batch, T words, D input, R recurrent, S state.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.model.config import Activation, Kind
from mrnn.shapes import Float


class Additive(nn.Module):
    """The paper's layer, r(t) = f(U r(t-1) + w(t)): its input is added, so it has the same size."""

    def __init__(self, size: int, activation: Activation) -> None:
        super().__init__()
        self.state_size = size
        self.activate = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}[
            activation
        ]
        # ReLU has no ceiling: U starts as a slight decay, so that a state neither grows nor is
        # forgotten. The others saturate; an orthogonal U keeps lengths where f is nearly linear.
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


class Stacked(nn.Module):
    """Layers of `Additive`, one above the other; each hears the one below by a linear map."""

    def __init__(self, size: int, activation: Activation, layers: int) -> None:
        super().__init__()
        self.state_size = layers * size
        self.layers = nn.ModuleList(Additive(size, activation) for _ in range(layers))
        self.maps = nn.ModuleList(nn.Linear(size, size) for _ in range(layers - 1))
        if activation == "relu":  # with U = 0.9 I a layer sums some ten of its inputs
            with torch.no_grad():
                for weight in self.maps.parameters():
                    weight.mul_(0.1)

    def forward(
        self, inputs: Float[Tensor, "B T R"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T R"], Float[Tensor, "B S"]]:
        """Every state of the highest layer, and the last of all."""
        ends = []
        for place, start in enumerate(state.chunk(len(self.layers), 1)):
            heard = self.maps[place - 1](inputs) if place else inputs
            inputs, end = self.layers[place](heard, start)
            ends.append(end)
        return inputs, torch.cat(ends, 1)


class Gated(nn.Module):
    """PyTorch's GRU or LSTM. A state holds all layers' h, then, for the LSTM, all layers' c."""

    def __init__(
        self, kind: Literal["gru", "lstm"], input_size: int, size: int, count: int
    ) -> None:
        super().__init__()
        self.parts = 2 if kind == "lstm" else 1
        self.state_size = self.parts * count * size
        # The library's start, uniform within 1 / sqrt(R): gates half open, so nothing saturates.
        layer = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
        self.layers = layer(input_size, size, count, batch_first=True)

    def forward(
        self, inputs: Float[Tensor, "B T D"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T R"], Float[Tensor, "B S"]]:
        """Every state h of the highest layer, and the last of all."""
        shape = (len(state), self.parts, self.layers.num_layers, self.layers.hidden_size)
        start = state.view(shape).permute(1, 2, 0, 3).contiguous()
        outputs, end = self.layers(inputs, start[0] if self.parts == 1 else tuple(start))
        ends = end[None] if self.parts == 1 else torch.stack(end)
        return outputs, ends.permute(2, 0, 1, 3).flatten(1)


Recurrence = Additive | Stacked | Gated


def recurrence_of(kind: Kind, input_size: int, size: int, layers: int) -> Recurrence:
    """The recurrent layers of a network; those that add their input take it in their own size."""
    if kind == "gru" or kind == "lstm":
        return Gated(kind, input_size, size, layers)
    return Additive(size, kind) if layers == 1 else Stacked(size, kind, layers)
