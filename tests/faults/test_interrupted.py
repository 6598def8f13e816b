"""Every command that writes, killed before each change of a file and at random moments.

What it was to write is then there whole or not at all, or a part that the next run goes on from;
and after that run all is as if nothing had happened. `make faults` tries more.
"""

import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from mrnn.outputs import finish_replacement
from tests.faults.campaign import World
from tests.faults.commands import COMMANDS, ELSEWHERE, READS, verbs, write_files
from tests.model.tiny_encoder import write_colour_encoder

MOMENTS = int(os.environ.get("MRNN_FAULTS", "25"))
"""At which a command is killed, at random; and before so many changes of files, evenly spaced."""
TABLE = os.environ.get("MRNN_FAULTS_TABLE")
"""A file for the table of what was tried."""
pytestmark = pytest.mark.slow


@pytest.fixture
def world(colours, model_with_heads, recipe, tmp_path, processes):
    """Photos, a dataset and a model in one folder, whose path is the same in each trial."""
    place = tmp_path / "world"
    place.mkdir()
    for name in ("photos", "data", "model"):
        (tmp_path / name).rename(place / name)
    for name in ("dataset.json", "captions.jsonl"):
        file = place / "data" / name
        file.write_text(file.read_text().replace(str(tmp_path), str(place)))
    for number, photo in enumerate(sorted((place / "photos").iterdir())):
        numbered = photo.with_name(f"{number:012}.png")  # as COCO's server wants them
        file.write_text(file.read_text().replace(photo.name, numbered.name))
        photo.rename(numbered)
    (place / "encoders").mkdir()
    write_colour_encoder(place / "encoders" / "colour.onnx")
    write_files(place, recipe)
    place.rename(tmp_path / "pristine")
    return World(tmp_path / "pristine", processes)


@pytest.fixture(scope="module")
def tried():
    """How many trials there were of each command; `make faults` writes them as a table."""
    counts = Counter()
    yield counts
    if TABLE:
        Path(TABLE).write_text(table(counts))


def table(counts):
    """Of trials, a row for each command."""
    kinds = ("stop_at", "seconds", "two at once")
    rows = [(f"`{name}`", *(counts[name, kind] for kind in kinds)) for name in COMMANDS]
    rows.append(("all", *(sum(counts[name, kind] for name in COMMANDS) for kind in kinds)))
    head = ("command", "killed before a change of a file", "at a random moment", "two at once")
    lines = (" | ".join(map(str, row)) for row in (head, ("---",) * 4, *rows))
    return "".join(f"| {line} |\n" for line in lines)


def settled(files):
    """Without what differs from run to run: how long things took."""
    return {
        name: _without_seconds(content) if name.endswith("metrics.jsonl") else content
        for name, content in files.items()
        if "/resume/" not in name
    }


def _without_seconds(content):
    lines = [json.loads(line) for line in content.decode().splitlines()]
    return [{key: line[key] for key in line if "second" not in key} for line in lines]


def undisturbed(world, command):
    """What is there before, what a command writes if it is left alone, its changes and seconds."""
    world.reset()
    for line in command.before:
        assert world.run(line.split()).code == 0
    world.keep()
    before = settled(world.files(*command.outputs))
    start = time.monotonic()
    ended = world.run(command.arguments)
    seconds = time.monotonic() - start
    assert ended.code == 0, ended.err
    assert world.leftovers() == []
    assert ended.changes > 0
    return before, settled(world.files(*command.outputs)), ended.changes, seconds


def again(world, command):
    """Runs it until all is done."""
    arguments = command.arguments
    ended = world.run([*arguments, *command.again.split()])
    if command.again and ended.code:  # killed before there was anything to go on from
        ended = world.run(arguments)
    return ended


def is_whole(world, command, before, expected):
    """After the next reader has ended what was interrupted between two renames."""
    for name in command.outputs:
        if (world.path / name).is_dir():
            finish_replacement(world.path / name)
    found = settled(world.files(*command.outputs))
    hidden = {name for name in found if "/.mrnn-" in f"/{name}"}
    shown = {name: content for name, content in found.items() if name not in hidden}
    if command.together:
        return shown in (before, expected)
    states = (before, expected)
    return all(content in [state.get(name) for state in states] for name, content in shown.items())


def killed(world, command, **when):
    """Whether the command was killed."""
    world.reset()
    return world.run(command.arguments, **when).code < 0


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_anywhere_it_ends_as_if_left_alone(world, tried, name):
    command, chance = COMMANDS[name], random.Random(name)
    before, expected, changes, seconds = undisturbed(world, command)
    stops = sorted(chance.sample(range(1, changes + 1), min(changes, MOMENTS)))
    moments = [{"stop_at": stop} for stop in stops]
    moments += [{"seconds": chance.uniform(0.01, seconds)} for _ in range(MOMENTS)]
    for moment in moments:
        tried[name, next(iter(moment))] += 1
        if killed(world, command, **moment):
            if not command.parts:
                assert is_whole(world, command, before, expected), moment
            done = settled(world.files(*command.outputs)) == expected
            ended = again(world, command)
            assert ended.code == 0 or (done and "exists" in ended.err), (moment, ended.err)
        assert settled(world.files(*command.outputs)) == expected, moment
        assert world.leftovers() == [], moment


@pytest.mark.parametrize("name", COMMANDS)
def test_two_at_once_end_as_one(world, tried, name):
    command, chance = COMMANDS[name], random.Random(name)
    _, expected, _, seconds = undisturbed(world, command)
    for _ in range(max(4, MOMENTS // 5)):
        tried[name, "two at once"] += 1
        world.reset()
        first = world.start(command.arguments)
        first.join(chance.uniform(0, seconds))
        ends = [world.wait(process) for process in (world.start(command.arguments), first)]
        assert min(end.code for end in ends) == 0, ends
        for end in ends:
            assert end.code in (0, 1)
            if end.code:
                assert end.lines[-1].startswith("mrnn: ")
                told = ("is being written", "exists", "already holds")
                assert any(words in end.err for words in told)
        assert settled(world.files(*command.outputs)) == expected
        assert world.leftovers() == []


def test_no_verb_is_forgotten():
    tried = {command.arguments[0] for command in COMMANDS.values()}
    assert tried | READS | ELSEWHERE == set(verbs())
