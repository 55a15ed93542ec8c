"""The accelerate configurations for the 14B: they cannot be run here, but they can be read."""

import re
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from everanimate_core.backends.wan_checkpoint import empty_transformer, outline_transformer
from everanimate_core.cli.main import parse
from everanimate_core.cli.options import chosen
from everanimate_core.cli.train import Options, chosen_recipe
from everanimate_core.cli.train_need import read_launch, tell_need
from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.training import loop
from everanimate_core.training.manifest import SetSettings
from everanimate_core.training.memory_need import Step, step_need
from everanimate_core.training.pace import Pace

CONFIGS = Path(loop.__file__).parent / "configs"


NAMES = {"1x24gb": ("FSDP", 1, 24), "1x80gb": ("NO", 1, 80), "8x80gb": ("FSDP", 8, 80)}
CASES = pytest.mark.parametrize(
    ("name", "kind", "processes", "card"), [(name, *facts) for name, facts in NAMES.items()]
)


def arguments_of(name):
    """The arguments of the two commands that stand in a settings file, what is launched and what said its need."""
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    launched = re.search(r"#   accelerate launch --config_file (\S+) -m everanimate_core train (.*) \.\.\.\n", text)
    told = re.search(r"#   everanimate train --dry-run --launch (\S+) (.*) \.\.\.\n", text)
    assert launched.groups() == told.groups() and told[1] == f"{name}.yaml"
    return told[2].split(), text


@CASES
def test_accelerate_reads_the_configuration(name, kind, processes, card):
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert config.distributed_type == kind
    assert (config.num_processes, config.mixed_precision) == (processes, "bf16")
    arguments = ["--config_file", str(CONFIGS / f"{name}.yaml"), "-m", "everanimate_core", "train"]
    launch, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert launch.use_fsdp == (kind == "FSDP")


@pytest.mark.parametrize("name", [name for name, (kind, *_) in NAMES.items() if kind == "FSDP"])
def test_fsdp_shares_out_the_blocks_and_face_adapters_that_the_model_has(name):
    fsdp = load_config_from_file(str(CONFIGS / f"{name}.yaml")).fsdp_config
    assert fsdp["fsdp_version"] == 2
    wrapped = fsdp["fsdp_transformer_layer_cls_to_wrap"].split(",")
    outline = empty_transformer({"added_kv_proj_dim": 5120})
    assert wrapped == [type(outline.blocks[0]).__name__, type(outline.face_adapter[0]).__name__]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with the settings of Wan2.2-Animate-14B, and no weights."""
    folder = tmp_path_factory.mktemp("model") / "transformer"
    empty_transformer({"added_kv_proj_dim": 5120}).save_config(folder)
    return folder.parent


@CASES
def test_a_step_of_the_14b_fits_its_card_with_15_percent_to_spare(model, name, kind, processes, card):
    arguments, text = arguments_of(name)
    options = parse(Options, "train", ["--data", "set", "--model", str(model), "--out", "out", *arguments])
    launch = read_launch(CONFIGS / f"{name}.yaml")
    assert (launch.processes, launch.sharded, launch.precision) == (processes, kind == "FSDP", "bf16")
    settings = SetSettings(ChunkGeometry(), 832, 480, "25", "crop", 16, True, "vae")
    recipe, pace = chosen_recipe(options), chosen(Pace, options.pace, str(model))
    assert (recipe.stage, recipe.rank) == (2, 128 if "paper" in arguments else 32)
    told = tell_need(str(model), None, launch, recipe, pace, settings)
    assert told[0] == "37440 tokens a sample: 832x480, 77 frames, 4 anchors, with a face"
    assert told[1] == f"8 samples a step: {processes} processes x {8 // processes} portions x 1"
    ends = next(number for number, line in enumerate(told) if line.startswith("  a card for it"))
    total, wanted = (float(line.split()[-1]) for line in told[ends - 1 : ends + 1])
    assert total / card < 0.85 and wanted <= card
    # What stands beside the settings is what the command says.
    assert f"needs {total:.1f} GB of " in text and f"(rank {recipe.rank})" in text
    main = sum(float(line.split()[-1]) for line in told[ends + 1 :] if line.startswith("  "))
    assert (f" and {main:.0f} GB of main memory " in text) if main else ("main memory (" not in text)


def test_the_outline_is_the_14b_network(model):
    outline = outline_transformer(model)
    config = outline.config
    assert (config.num_layers, config.ffn_dim, config.image_dim, config.text_dim) == (40, 13824, 1280, 4096)
    assert config.num_attention_heads * config.attention_head_dim == config.added_kv_proj_dim == 5120
    assert sum(value.numel() for value in outline.parameters()) == 17_274_816_884
    # Why it has to be done in another way than before: hundreds of gigabytes for a single sample.
    need = step_need(Step(outline, ChunkGeometry(), 832, 480, half=False, checkpointing=False))
    assert need.device["activations"] > 700e9
