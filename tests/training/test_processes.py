"""Several processes that train one model: they give what one gives, and end together."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from mrnn.cli import main
from mrnn.data.dataset import Dataset
from mrnn.data.features import extract_features
from mrnn.errors import DataError, OptionsError, TrainingError
from mrnn.training import exchange as exchanging
from mrnn.training.exchange import SharedMemory
from mrnn.training.optimization import Optimization
from mrnn.training.processes import ALONE, Processes, join_processes
from mrnn.training.shares import Shares
from mrnn.training.train import train
from tests.training.test_train import metrics, recipe, run, weights

SIZES = {"dropout": 0.3}
OPTIONS = {"shares": 4, "epochs": 3, "average": 0.9, "weight_penalty": 1e-3, "clip": 0.5}


@pytest.fixture
def dataset(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


def in_place_of_torchrun(rank, count, port, folder, together, function, arguments):
    """In a process of its own: what torchrun puts into the environment, and output in files."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    if together:
        os.environ["LOCAL_WORLD_SIZE"] = str(count)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}-{rank}", os.O_CREAT | os.O_WRONLY), descriptor)
    torch.set_num_threads(1)
    function(rank, *arguments)


@pytest.fixture
def started(processes, tmp_path):
    """Runs a function in so many processes; gives exit codes, and what all said on stderr."""

    def start(count, function, *arguments, together=True):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        store = torch.distributed.TCPStore(
            "127.0.0.1", port, is_master=True, wait_for_workers=False
        )
        made = [
            processes.Process(
                target=in_place_of_torchrun,
                args=(rank, count, port, tmp_path, together, function, arguments),
            )
            for rank in range(count)
        ]
        for process in made:
            process.start()
        for process in made:
            process.join()
        del store
        said = [(tmp_path / f"err-{rank}").read_text() for rank in range(count)]
        return [process.exitcode for process in made], said

    return start


def train_here(rank, data, out, files, options, stop):
    """Train, or leave a run after so many events."""
    with join_processes() as processes:
        assert (processes.rank, processes.is_first) == (rank, rank == 0)
        chosen = recipe(SIZES, **options)
        events = train(
            chosen, Dataset.load(data), out, text=files, resume=True, processes=processes
        )
        for _ in zip(range(stop), events, strict=False):
            pass
        events.close()


# The same bits


def test_any_number_of_processes_and_threads_gives_the_same_model(dataset, text, started, tmp_path):
    """Batches are of 8 captions and, of the text, of 3 at the end: fewer than shares."""
    run(dataset, tmp_path / "one", SIZES, files=[text], **OPTIONS)
    torch.set_num_threads(2)
    try:
        run(dataset, tmp_path / "threads", SIZES, files=[text], **OPTIONS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert weights(tmp_path / "threads") == weights(tmp_path / "one")
    for count, together in ((2, True), (4, False), (4, True)):
        out = tmp_path / f"{count}-{together}"
        codes, said = started(
            count, train_here, dataset.folder, out, [text], OPTIONS, 99, together=together
        )
        assert (codes, said) == (count * [0], count * [""])
        assert weights(out) == weights(tmp_path / "one")
        assert metrics(out) == metrics(tmp_path / "one")
        assert {file.name for file in out.iterdir()} == {
            file.name for file in (tmp_path / "one").iterdir()
        }
    run(dataset, tmp_path / "whole", SIZES, files=[text], **OPTIONS | {"shares": 1})
    assert weights(tmp_path / "whole") != weights(tmp_path / "one")


def test_a_run_is_resumed_by_another_number_of_processes(dataset, text, started, tmp_path):
    left, whole = tmp_path / "left", tmp_path / "whole"
    run(dataset, whole, SIZES, files=[text], **OPTIONS)
    for count, stop in ((2, 7), (4, 9), (2, 12)):  # events; 5 are an epoch of text, 7 one of pairs
        codes, _ = started(count, train_here, dataset.folder, left, [text], OPTIONS, stop)
        assert codes == count * [0]
    assert len(metrics(left)) == 1
    run(dataset, left, SIZES, files=[text], resume=True, **OPTIONS)
    assert weights(left) == weights(whole)
    assert metrics(left) == metrics(whole)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_shares_learn_as_well(dataset, tmp_path, precision):
    events = run(dataset, tmp_path / "run", {"dropout": 0.1}, shares=4, precision=precision)
    assert events[-1].best_perplexity < 1.8
    assert events[-1].communication == 0


@pytest.mark.parametrize("count", [1, 2, 8])
def test_gradients_are_summed_in_pairs(count):
    values = torch.randn(count, 5, generator=torch.Generator().manual_seed(0))
    sums = list(values.clone())
    while len(sums) > 1:
        sums = [a + b for a, b in zip(sums[::2], sums[1::2], strict=True)]
    for threads in (1, 2, 3, 9):
        (found,) = Shares(count, threads=threads).sum(lambda share: [values[share].clone()])
        assert torch.equal(found, sums[0])


# What the processes tell each other


def exchange(rank):
    with join_processes() as processes:
        for size in (3, 3, 3, 5):
            values = torch.randn(4, 2, size, generator=torch.Generator().manual_seed(size))
            left, right = values[0] + values[1], values[2] + values[3]
            one, rest = processes.sum([values[rank, 0], values[rank, 1:]])
            assert torch.equal(one, (left + right)[0])
            assert torch.equal(rest, (left + right)[1:])
        shared = isinstance(processes._exchange, SharedMemory)
        assert shared == (hasattr(os, "memfd_create") and "LOCAL_WORLD_SIZE" in os.environ)
        assert processes.seconds > 0
        assert processes.first_does(lambda: rank + 5) == 5
        with pytest.raises(DataError, match=r"^of the first$"):
            processes.first_does(lambda: (_ for _ in ()).throw(DataError("of the first")))
        processes.check_same({"recipe": 1})
        with pytest.raises(
            TrainingError, match=r"^Process 2 of 4 has another recipe than process 0; give all"
        ):
            processes.check_same({"recipe": rank == 2})
        told = [processes.is_first_to_tell() for _ in range(2)]
        sys.stderr.write(f"{sum(told)}\n")


@pytest.mark.parametrize("together", [True, False])
def test_processes_agree(started, together):
    codes, said = started(4, exchange, together=together)
    assert codes == 4 * [0]
    assert sorted(said) == ["0\n", "0\n", "0\n", "1\n"]


def without_memory(rank):
    """As where the memory is full."""
    exchanging._new_memory = lambda length: None
    exchange_plainly(rank)


def exchange_plainly(rank):
    with join_processes() as processes:
        assert processes.sum([torch.ones(3) * rank])[0].tolist() == [1, 1, 1]
        assert isinstance(processes._exchange, exchanging.Messages)


def test_shared_memory_takes_a_small_part_of_all(monkeypatch):
    monkeypatch.setattr(exchanging, "available_memory", lambda device: 4000)
    assert exchanging._new_memory(1001) is None
    if hasattr(os, "memfd_create"):
        descriptor = exchanging._new_memory(1000)
        assert os.fstat(descriptor).st_size == 1000
        os.close(descriptor)


def test_without_shared_memory_messages_go(started):
    assert started(2, without_memory)[0] == [0, 0]


@pytest.mark.parametrize("others", [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "4"}])
def test_one_process_has_nobody_to_ask(monkeypatch, others):
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    with join_processes() as processes:
        assert processes is ALONE
    assert ALONE.first_does(lambda: 3) == 3
    ALONE.check_same({"recipe": 1})
    assert ALONE.is_first_to_tell()
    assert ALONE.sum([torch.ones(1)]) == [torch.ones(1)]


@pytest.mark.parametrize(("shares", "count"), [(4, 3), (1, 2), (4, 8)])
def test_processes_have_equal_shares(shares, count):
    message = (
        rf"^{count} processes cannot have equal shares of a batch, as training\.shares is {shares};"
    )
    with pytest.raises(OptionsError, match=message):
        Shares(shares, Processes(0, count))


# A process that fails


def command(rank, data, recipe_file, out, more, dies):
    """`mrnn train`; the process of that rank dies at its fifth step."""
    step, left = Optimization._step, 5

    def counted(*arguments):
        nonlocal left
        left -= 1
        if rank == dies and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments)

    Optimization._step = counted
    sys.argv = ["mrnn", "train", *map(str, (recipe_file, "--data", data, "--out", out)), *more]
    main()


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(
        'name = "tiny"\n[encoder]\nname = "colour"\n'
        "[model]\nembedding_size = 8\nrecurrent_size = 12\nmultimodal_size = 16\n"
        "[training]\nepochs = 2\nbatch_size = 8\nshares = 4\n"
    )
    return file


@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_dies_ends_all_with_one_line(dataset, started, recipe_file, tmp_path, dies):
    out = tmp_path / "run"
    codes, said = started(2, command, dataset.folder, recipe_file, out, [], dies)
    assert codes[dies] == -signal.SIGKILL
    assert codes[1 - dies] == 1
    *_, line = said[1 - dies].splitlines()
    assert line == (
        "mrnn: One of the 2 processes has ended or does not answer; start all again, with --resume"
    )
    assert said[1].count("\n") == dies ^ 1
    codes, _ = started(2, command, dataset.folder, recipe_file, out, ["--resume"], None)
    assert codes == [0, 0]
    assert len(metrics(out)) == 2


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--set", "training.learning_rate=1e38"], "mrnn: The cost is nan in epoch 1, in the bat"),
        (["--set", "training.shares=1"], "mrnn: 2 processes cannot have equal shares of a batch"),
        (["--set", "training.held_out=24"], "mrnn: training.held_out = 24 leaves no photo"),
        (["--device", "mps"], "mrnn: --device mps: PyTorch finds no such device here"),
    ],
)  # fmt: skip
def test_what_all_processes_meet_is_told_once(dataset, started, recipe_file, tmp_path, more, line):
    codes, said = started(2, command, dataset.folder, recipe_file, tmp_path / "run", more, None)
    assert codes == [1, 1]
    found = [each for text in said for each in text.splitlines() if each.startswith("mrnn: ")]
    assert len(found) == 1
    assert found[0].startswith(line)


def stopped(rank):
    with join_processes():
        if rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_is_a_clear_end(started):
    codes, said = started(2, stopped)
    assert codes[0] == 1
    assert "TrainingError: Training was told to stop, as where another" in said[0]


# For real


@pytest.mark.slow
def test_torchrun_with_the_recipe_that_ships(colours, tmp_path):
    """Two processes train `flickr8k` by its name, heads included, to the weights of one."""
    data, found = str(colours.folder), []
    subprocess.run([sys.executable, "-m", "mrnn", "extract", data], check=True, capture_output=True)
    few = ["--set", "training.held_out=0", "--set", "training.epochs=1"]
    for count in (1, 2):
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        given = ["-m", "mrnn", "train", "flickr8k", "--data", data, "--out", f"{tmp_path}/{count}"]
        command = [sys.executable, *start, *given, *few]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"{count}" / "heads.safetensors").exists()
        found.append(weights(tmp_path / f"{count}"))
    assert found[0] == found[1]


@pytest.mark.slow
def test_torchrun(dataset, recipe_file, tmp_path):
    given = ["-m", "mrnn", "train", str(recipe_file), "--data", str(dataset.folder), "--out"]
    found = []
    for count in (1, 2, 4):
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        command = [sys.executable, *start, *given, str(tmp_path / f"{count}")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3
        assert ("between processes" in done.stdout) == (count > 1)
        assert f"float32 on {'' if count == 1 else f'{count} x '}cpu. " in done.stderr
        found.append(weights(tmp_path / f"{count}"))
    assert found[1:] == found[:1] * 2
