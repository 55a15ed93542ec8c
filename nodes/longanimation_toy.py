"""The embedded colouring toy: a small trained CogVideoX I2V, its SketchDiT and VAE, and line art to colour."""

import comfy.latent_formats
import comfy.sd
import torch
from comfy_api.latest import io

from ..everanimate_core.toy.network.colour_state import (
    BASE_WEIGHTS,
    NO_TEXT,
    SKETCH_SIZES,
    SKETCH_WEIGHTS,
    read_network,
)
from ..everanimate_core.toy.network.colour_vae import CHANNELS, GROUPS, LAYERS, read_vae
from ..everanimate_core.toy.network.previews import COLOUR
from ..everanimate_core.toy.world.world import World
from .cogvideo import SketchControl, cog
from .longanimation import CATEGORY, Control
from .node import in_its_name
from .toy import host_vae, show_in_true_colours, world_inputs


class LongAnimationLoadToy(io.ComfyNode):
    """Everything that a graph needs to colour, at toy size."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationLoadToy",
            display_name="Load Toy Line Art",
            category=CATEGORY,
            description="A small trained CogVideoX with its SketchDiT and VAE, and line art of 64x64 pixels to colour, "
            "with the truth to compare with. Ships with the pack and runs on a CPU: nothing to download. Use 10 steps, "
            "fuse_from 6 and cfg 1; text has no effect on it.",
            inputs=world_inputs("line art and truth"),
            outputs=[
                io.Model.Output(display_name="model", tooltip="The toy's CogVideoX I2V."),
                Control.Output(display_name="control", tooltip="The toy's SketchDiT, for Apply SketchDiT."),
                io.Vae.Output(
                    display_name="vae", tooltip="The toy's VAE; it reads and writes no other model's latents."
                ),
                io.Conditioning.Output(display_name="positive", tooltip="An empty prompt: the toy reads no text."),
                io.Conditioning.Output(display_name="negative", tooltip="An empty prompt."),
                io.Image.Output(display_name="lineart", tooltip="The line art to be coloured, black on white."),
                io.Image.Output(display_name="reference", tooltip="The coloured picture that says the colours."),
                io.Image.Output(display_name="reference_lineart", tooltip="The line art of the reference."),
                io.Image.Output(display_name="truth", tooltip="What a perfect model would make of them."),
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, seed, frames) -> io.NodeOutput:
        world, shown = World(seed), range(frames)
        empty = [[NO_TEXT, {}]]
        return io.NodeOutput(
            toy_base(),
            SketchControl(read_network(SKETCH_WEIGHTS), SKETCH_SIZES),
            toy_vae(),
            empty,
            empty,
            world.lineart(shown),
            world.reference()[None],
            world.reference_lineart()[None],
            world.frames(shown),
        )


def toy_base():
    """The toy's base network as the host's CogVideoX I2V, a MODEL in float32."""
    cog()
    model = comfy.sd.load_diffusion_model_state_dict(read_network(BASE_WEIGHTS), model_options={"dtype": torch.float32})
    # The host goes by the size of a network, and takes so small a one for the first CogVideoX.
    model.model.latent_format = comfy.latent_formats.CogVideoX1_5()
    show_in_true_colours(model, COLOUR)
    return model


def toy_vae() -> comfy.sd.VAE:
    """The toy's VAE as the host's own class and VAE object, in float32."""
    network = cog().vae.AutoencoderKLCogVideoX(block_out_channels=CHANNELS, layers_per_block=LAYERS, groups=GROUPS)
    network.load_state_dict(read_vae())
    return host_vae(network.eval())
