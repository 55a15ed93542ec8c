"""Loading what LongAnimation needs: the base network under whatever names it was published, SketchDiT and DGLM."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..everanimate_core.errors import InputError
from ..everanimate_core.longanimation.files import INDEX_SUFFIX
from .cogvideo import load_base, load_sketch
from .longanimation import CATEGORY, Control
from .node import in_its_name

# Number types of weights, by what the loader's widget calls them.
DTYPES = {"default": None, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8_e4m3fn": torch.float8_e4m3fn}
# Where SketchDiT and DGLM lie.
SKETCH_FOLDER, BASE_FOLDER = "controlnet", "diffusion_models"
# For no DGLM.
NONE = "none"


def base_files() -> list[str]:
    """What Load CogVideoX I2V offers: files of weights, and indexes of sharded ones."""
    found = set(folder_paths.get_filename_list(BASE_FOLDER))
    for folder in folder_paths.get_folder_paths(BASE_FOLDER):
        found |= {str(path.relative_to(folder)) for path in Path(folder).rglob(f"*{INDEX_SUFFIX}")}
    return sorted(found)


class LongAnimationLoadBase(io.ComfyNode):
    """The base network under whatever names it was published."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationLoadBase",
            display_name="Load CogVideoX I2V",
            category=CATEGORY,
            description="Load CogVideoX1.5-5B-I2V as it is published: a file, or the index of a sharded one, with the "
            "names of diffusers or of ComfyUI. A converted file also loads with ComfyUI's own Load Diffusion Model.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=base_files(),
                    tooltip="A .safetensors file or a .safetensors.index.json in models/diffusion_models.",
                ),
                io.Combo.Input(
                    "weight_dtype", options=list(DTYPES), default="default", tooltip="Number type of the weights."
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="CogVideoX1.5 I2V, for Apply SketchDiT or Colour Long Animation."
                )
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, file, weight_dtype) -> io.NodeOutput:
        path = next(
            (
                found
                for folder in folder_paths.get_folder_paths(BASE_FOLDER)
                if (found := Path(folder) / file).is_file()
            ),
            None,
        )
        if path is None:
            raise InputError("file", f"must be in models/{BASE_FOLDER}", "", file)
        return io.NodeOutput(load_base(str(path), DTYPES[weight_dtype]))


class LongAnimationLoad(io.ComfyNode):
    """The network that looks at line art, and the one that reads the memory of the video."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationLoad",
            display_name="Load LongAnimation",
            category=CATEGORY,
            description="Load SketchDiT, the part of LongAnimation that looks at line art and steers CogVideoX, and "
            "DGLM, the part that reads the memory of the video.",
            inputs=[
                io.Combo.Input(
                    "sketch_file",
                    options=folder_paths.get_filename_list(SKETCH_FOLDER),
                    tooltip="control_module.safetensors of LongAnimation, in models/controlnet.",
                ),
                io.Combo.Input(
                    "memory_file",
                    options=[NONE, *folder_paths.get_filename_list(SKETCH_FOLDER)],
                    default=NONE,
                    optional=True,
                    tooltip="DGLM, which reads the memory of the video: glm_module.safetensors of LongAnimation, in "
                    "models/controlnet. none: no memory.",
                ),
            ],
            outputs=[
                Control.Output(
                    display_name="control",
                    tooltip="SketchDiT and DGLM, for Apply SketchDiT or Colour Long Animation.",
                )
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, sketch_file, memory_file=NONE) -> io.NodeOutput:
        sketch = folder_paths.get_full_path_or_raise(SKETCH_FOLDER, sketch_file)
        memory = None if memory_file == NONE else folder_paths.get_full_path_or_raise(SKETCH_FOLDER, memory_file)
        return io.NodeOutput(load_sketch(sketch, memory))
