"""What is loaded once and kept for what comes next."""

import gc
import weakref

import pytest
import torch
from cli_parts import CHUNKS, NETWORK, animate, place_of, result
from run_parts import assert_same_result

from everanimate_core.cli import animate as command_of
from everanimate_core.cli import colour
from everanimate_core.cli.command import Command
from everanimate_core.cli.kept import Kept
from everanimate_core.cli.main import parse


class Network:
    pass


def test_the_same_key_loads_once_and_another_one_lets_go_first():
    kept, living = Kept(), []

    def load():
        gc.collect()
        assert not [network for network in living if network() is not None]
        network = Network()
        living.append(weakref.ref(network))
        return network

    assert kept.get("a", load) is kept.get("a", load)
    assert len(living) == 1
    kept.get("b", load)
    kept.get("a", load)
    assert len(living) == 3


def test_what_fails_to_load_is_not_kept():
    kept = Kept()
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 / 0)
    assert kept.get("a", lambda: 5) == 5


@pytest.fixture
def loads(monkeypatch):
    """The networks that were loaded, as their keys' models."""
    found = []
    for module in (command_of, colour):
        real = module._load
        monkeypatch.setattr(
            module, "_load", lambda options, *rest, real=real: found.append(options.model) or real(options, *rest)
        )
    return found


def run(module, name, arguments, kept):
    module.main(parse(module.Options, name, arguments), Command(), kept)


def test_animations_share_a_network_and_are_what_they_are_alone(uninterrupted, tmp_path, loads, command):
    kept, threads = Kept(), torch.get_num_threads()
    # Another guidance, and another network, come between.
    others = [animate(tmp_path / "b.mp4", "--frames", "9", "--cfg", "2")]
    others += [animate(tmp_path / "c.mp4", "--frames", "9", "--model", "toy-baseline")]
    for arguments in (*others[:1], animate(tmp_path / "dance.mp4"), *others[1:]):
        run(command_of, "animate", arguments[1:], kept)
    assert loads == ["toy", "toy-baseline"]
    assert torch.get_num_threads() == threads
    assert_same_result(result(tmp_path / "dance.mp4"), result(uninterrupted[0]))
    assert len(place_of(tmp_path / "dance.mp4").take().chunks) == CHUNKS


def test_the_toy_without_tiles_says_so_with_a_kept_network_too(tmp_path, loads, command):
    from everanimate_core.errors import InputError

    kept = Kept()
    run(command_of, "animate", animate(tmp_path / "a.mp4", "--frames", "9")[1:], kept)
    with pytest.raises(InputError, match=r"^tiled must be left out for the embedded toy"):
        run(command_of, "animate", animate(tmp_path / "b.mp4", "--tiled")[1:], kept)
    assert NETWORK[1] == "toy" and loads == ["toy"]
