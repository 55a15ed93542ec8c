"""The accelerate configurations for the 14B: they cannot be run here, but they can be read."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from diffusers import WanAnimateTransformer3DModel

from everanimate_core.training import loop

CONFIGS = Path(loop.__file__).parent / "configs"


@pytest.mark.parametrize(("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp", "FSDP")])
def test_accelerate_reads_the_configuration(name, kind):
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert config.distributed_type.value == kind
    assert (config.num_processes, config.mixed_precision) == (8, "bf16")
    arguments = ["--config_file", str(CONFIGS / f"{name}.yaml"), "-m", "everanimate_core", "train"]
    launch, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert (launch.multi_gpu, launch.use_fsdp) == (name == "ddp", name == "fsdp")


def test_fsdp_shares_out_the_blocks_that_the_model_has():
    fsdp = load_config_from_file(str(CONFIGS / "fsdp.yaml")).fsdp_config
    assert fsdp["fsdp_version"] == 2
    assert fsdp["fsdp_transformer_layer_cls_to_wrap"] in WanAnimateTransformer3DModel._repeated_blocks
