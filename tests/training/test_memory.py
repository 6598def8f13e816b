import time

import pytest
import torch

from mrnn.errors import OptionsError
from mrnn.model.config import ModelConfig
from mrnn.training import memory
from mrnn.training.devices import CPU
from mrnn.training.memory import available_memory, bytes_to_train, check_memory
from mrnn.training.network import network_of

GB = 10**9


def config(**options):
    return ModelConfig(vocabulary_size=1000, image_size=500, **options)


@pytest.mark.parametrize("options", [{}, {"recurrence": "lstm"}, {"shares_embedding": True}])
def test_bytes_are_six_copies_of_all_weights(options):
    weights = sum(each.numel() for each in network_of(config(**options)).parameters())
    assert bytes_to_train(config(**options)) == 24 * weights


def test_nothing_is_taken_nor_drawn_to_find_out():
    state, start = torch.get_rng_state(), time.monotonic()
    assert bytes_to_train(config(recurrent_size=10**6, recurrence="gru")) > 10**14
    assert torch.equal(torch.get_rng_state(), state)
    assert time.monotonic() - start < 10


def test_what_fits_is_let_through():
    check_memory(config(), GB)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"recurrent_size": 100_000},
            r"^model: training this network takes 243 GB of memory, and there are 16 GB; lower "
            r"model\.recurrent_size, which is 100,000$",
        ),
        (
            {"multimodal_size": 10**9},
            r"takes [\d,]+ GB .* lower model\.multimodal_size, which is 1",
        ),
        ({"recurrent_size": 10**9}, r"takes 24,\d+,\d+,\d+ GB .*_size, which is 1,000,000,000$"),
        (
            {"recurrent_size": 10**9, "recurrence": "lstm", "recurrent_layers": 3},
            r"takes more than a million TB of memory, .*_size, which is 1,000,000,000$",
        ),
        ({"recurrent_size": 10**30}, r"takes more than a million TB of memory"),
        ({"embedding_size": 10**18}, r"takes more than a million TB .* model\.embedding_size, whi"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_it_takes(options, message):
    with pytest.raises(OptionsError, match=message):
        check_memory(config(**options), 16 * GB)


def test_a_container_may_have_less(tmp_path, monkeypatch):
    whole = available_memory(CPU)
    assert whole > GB / 2
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CONTROL_GROUP", limit)
    limit.write_text("1000000\n")
    assert available_memory(CPU) == 10**6
    limit.write_text("max\n")
    assert available_memory(CPU) >= whole
    monkeypatch.delattr("os.sysconf")
    assert available_memory(CPU) == 2**63
