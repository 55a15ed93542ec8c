"""The nodes of the pack; ComfyUI calls comfy_entrypoint."""

import folder_paths
from comfy_api.latest import ComfyExtension, io

from .animate import EverAnimateAnimate
from .animate2 import EverAnimateMethodAnimate2
from .chunk import EverAnimateChunk, EverAnimatePlanChunks
from .chunk_frames import EverAnimateChunkFrames
from .long_run import EverAnimateLongRun
from .longanimation import (
    LongAnimationApply,
    LongAnimationCondition,
    LongAnimationFinish,
    LongAnimationPlan,
    LongAnimationSampler,
)
from .longanimation_animate import LongAnimationAnimate
from .longanimation_load import LongAnimationLoad, LongAnimationLoadBase
from .longanimation_toy import LongAnimationLoadToy
from .lora import EverAnimateLoadLora, EverAnimatePatchModel
from .memory import EverAnimateMemory, EverAnimateMemoryFromLatents, EverAnimatePropagate
from .prepare import EverAnimatePrepare
from .samples import give_samples
from .sampling import EverAnimateRestorativeSampler, EverAnimateRestoreFlow, EverAnimateSigmas
from .scail2 import EverAnimateMethodScail2
from .toy import EverAnimateLoadToy
from .video import EverAnimateDriftReport, EverAnimateJoinChunks
from .video_memory import LongAnimationLoadVideoMemory, LongAnimationMemory


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
            EverAnimateRestorativeSampler,
            EverAnimateRestoreFlow,
            EverAnimatePropagate,
            EverAnimateJoinChunks,
            EverAnimateDriftReport,
            EverAnimateLoadToy,
            EverAnimatePrepare,
            LongAnimationAnimate,
            LongAnimationLoadBase,
            LongAnimationLoad,
            LongAnimationPlan,
            LongAnimationCondition,
            LongAnimationApply,
            LongAnimationSampler,
            LongAnimationFinish,
            LongAnimationLoadToy,
            LongAnimationLoadVideoMemory,
            LongAnimationMemory,
            EverAnimateLongRun,
            EverAnimateMethodAnimate2,
            EverAnimateMethodScail2,
            EverAnimateChunkFrames,
        ]


async def comfy_entrypoint() -> EverAnimateExtension:
    give_samples(folder_paths.get_input_directory())
    return EverAnimateExtension()
