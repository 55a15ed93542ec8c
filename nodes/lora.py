"""Nodes that prepare the model: the EverAnimate LoRA and the alignment to the memory's anchors."""

import comfy.sd
import folder_paths
from comfy.weight_adapter import LoRAAdapter
from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.lora.files import LoraError, host_state_dict, read_lora
from ..everanimate_core.lora.fit import check_coverage, check_strength
from . import widgets
from .alignment import align_model
from .node import in_its_name


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
    @in_its_name
    def execute(cls, model, lora_name, strength) -> io.NodeOutput:
        check_strength(strength)
        aligned = align_model(model)
        lora = read_lora(folder_paths.get_full_path_or_raise("loras", lora_name))
        # Of the parameters: the state dict of GGUF and other packed layers has the shapes of the packed values.
        check_coverage(lora, dict(aligned.model.named_parameters()))
        with_lora, _ = comfy.sd.load_lora_for_models(aligned, None, host_state_dict(lora), strength, 0)
        check_not_doubled(lora_name, aligned, with_lora)
        return io.NodeOutput(with_lora)


def check_not_doubled(lora_name: str, before, after) -> None:
    """Raise LoraError when a layer of the LoRA that made MODEL `after` of `before` was on `before` already.

    The same weights in another number type, under other names or with another strength are the same. Other LoRAs may
    be on the same layers.
    """
    doubled = []
    for name, patches in after.patches.items():
        there = before.patches.get(name, [])
        # Each layer of the LoRA has put one patch behind those that were there.
        if any(_same(old, new) for _, new, *_ in patches[len(there) :] for _, old, *_ in there):
            doubled.append(name)
    if doubled:
        got = f"{lora_name}, of which {len(doubled)} layers are on the model already ({doubled[0]})"
        raise LoraError(
            "a LoRA is added to a model once", "remove the other loader, or change its strength instead", got
        )


def _same(old, new: LoRAAdapter) -> bool:
    """Whether a patch of the host is this LoRA layer, up to the rounding of half precision. Zeros are no layer."""
    if not isinstance(old, LoRAAdapter):
        return False
    pairs = list(zip(_factors(old), _factors(new), strict=True))
    return all(one.shape == other.shape for one, other in pairs) and all(
        bool(other.any()) and float((one - other).abs().max()) <= 0.01 * float(other.abs().max())
        for one, other in pairs
    )


def _factors(patch: LoRAAdapter) -> tuple[Tensor, Tensor]:
    """A [rank, in] and B [out, rank], with alpha / rank in B, in float32."""
    b, a, alpha, *_ = patch.weights
    scale = 1.0 if alpha is None else alpha / a.shape[0]
    return a.float().cpu(), b.float().cpu() * scale


class EverAnimatePatchModel(io.ComfyNode):
    """The alignment alone, for models whose LoRA is merged or trained elsewhere."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimatePatchModel",
            display_name="Align Model to Memory",
            category=widgets.CATEGORY,
            description="Let pose and face drive the chunk and leave the memory's anchors alone. Load EverAnimate "
            "LoRA does this too.",
            inputs=[widgets.model()],
            outputs=[io.Model.Output(display_name="model", tooltip="The same model, aligned to the memory.")],
        )

    @classmethod
    @in_its_name
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(align_model(model))
