"""The nodes of the pack; ComfyUI calls comfy_entrypoint."""

from comfy_api.latest import ComfyExtension, io

from .animate import EverAnimateAnimate
from .chunk import EverAnimateChunk, EverAnimatePlanChunks
from .lora import EverAnimateLoadLora, EverAnimatePatchModel
from .memory import EverAnimateMemory, EverAnimateMemoryFromLatents, EverAnimatePropagate
from .sampling import EverAnimateSigmas
from .video import EverAnimateJoinChunks


class EverAnimateExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            EverAnimateAnimate,
            EverAnimateLoadLora,
            EverAnimatePatchModel,
            EverAnimateMemory,
            EverAnimateMemoryFromLatents,
            EverAnimatePlanChunks,
            EverAnimateChunk,
            EverAnimateSigmas,
            EverAnimatePropagate,
            EverAnimateJoinChunks,
        ]


async def comfy_entrypoint() -> EverAnimateExtension:
    return EverAnimateExtension()
