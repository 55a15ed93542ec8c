"""Nodes that prepare the model: the EverAnimate LoRA and the alignment to the memory's anchors."""

import comfy.sd
import folder_paths
from comfy_api.latest import io

from ..everanimate_core.lora import check_coverage, check_strength, host_state_dict, read_lora
from . import widgets
from .alignment import align_model


class EverAnimateLoadLora(io.ComfyNode):
    """The EverAnimate LoRA, every layer of it, on an aligned model."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateLoadLora",
            display_name="Load EverAnimate LoRA",
            category=widgets.CATEGORY,
            description="Load the EverAnimate LoRA, whatever its layers are called, and align the model to the memory. "
            "ComfyUI's own loader loads none of the released file's layers.",
            inputs=[
                widgets.model(),
                io.Combo.Input(
                    "lora_name",
                    options=folder_paths.get_filename_list("loras"),
                    tooltip="The LoRA file in models/loras (stage2_480p, stage3_720p_beta).",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="How much of the LoRA is added (1 as trained).",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with the LoRA, aligned to the memory.")],
        )

    @classmethod
    def execute(cls, model, lora_name, strength) -> io.NodeOutput:
        check_strength(strength)
        aligned = align_model(model)
        lora = read_lora(folder_paths.get_full_path_or_raise("loras", lora_name))
        check_coverage(lora, aligned.model.state_dict())
        aligned, _ = comfy.sd.load_lora_for_models(aligned, None, host_state_dict(lora), strength, 0)
        return io.NodeOutput(aligned)


class EverAnimatePatchModel(io.ComfyNode):
    """The alignment alone, for models whose LoRA is merged or trained elsewhere."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimatePatchModel",
            display_name="Align Model to Memory",
            category=widgets.CATEGORY,
            description="Let pose and face drive the chunk and leave the memory's anchors alone. Load EverAnimate "
            "LoRA does "
            "this too.",
            inputs=[widgets.model()],
            outputs=[io.Model.Output(display_name="model", tooltip="The same model, aligned to the memory.")],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(align_model(model))
