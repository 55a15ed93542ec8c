"""The memory of the video: loading Video-XL, and remembering the frames that windows have added."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.errors import InputError
from ..everanimate_core.knobs import knobs
from ..everanimate_core.longanimation.settings import MemorySettings
from ..everanimate_core.longanimation.video_files import read_video_model
from ..everanimate_core.longanimation.video_memory import MemoryOfVideo, VideoModel, VideoSettings
from . import widgets
from .checks import check_images
from .cogvideo import cog
from .longanimation import CATEGORY, MemoryType, Remembered, StateType
from .longanimation_load import DTYPES
from .node import in_its_name
from .validation import widgets_checked

VideoModelType = io.Custom("LA_VIDEO_MODEL")
FOLDER = "text_encoders"
MEMORY_KNOBS = knobs(MemorySettings)
RELEASED_FRAMES = MemorySettings().memory_frames


class HostVideoModel:
    """A loaded Video-XL: `patcher`, which the host loads when something is to be remembered, and may unload then."""

    def __init__(self, state: Mapping[str, Tensor], settings: VideoSettings):
        self.settings = settings
        network = VideoModel(settings, comfy.ops.manual_cast, device="meta")
        network.load_state_dict(state, assign=True)
        device = comfy.model_management.get_torch_device()
        stored = network.language.layers[0].self_attn["k_proj"].weight.dtype
        network.work_device = device
        network.work_dtype = comfy.model_management.unet_manual_cast(stored, device) or stored
        self.patcher = comfy.model_patcher.ModelPatcher(
            network.eval().requires_grad_(False),
            load_device=device,
            offload_device=comfy.model_management.unet_offload_device(),
        )

    def memory(self, settings: MemorySettings) -> MemoryOfVideo:
        """What remembers with it."""
        return MemoryOfVideo(self.patcher.model, settings, partial(self._loaded, settings))

    def _loaded(self, settings: MemorySettings) -> AbstractContextManager:
        """The host makes room and loads it: what samples may have to leave."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=self._room(settings))
        return nullcontext()

    def _room(self, settings: MemorySettings) -> int:
        """Bytes that remembering takes beside the weights, roughly.

        A setting above the released one is a limit that few animations reach: room for it would turn out all else.
        """
        network, language = self.patcher.model, self.settings.language
        frames = min(max(settings.memory_frames, settings.local_frames), RELEASED_FRAMES)
        beacons = frames * self.settings.beacons
        kept = 2 * len(network.language.layers) * beacons * language.kv_width * network.computes_in.itemsize
        # As they are lengthened they are there twice; a layer turns and repeats its own.
        return 4 * kept


def load_video_model(path: str, dtype: torch.dtype | None) -> HostVideoModel:
    """Video-XL from a converted file. dtype: of its matrices, None for what they are."""
    cog()
    state, settings = read_video_model(path)
    if dtype is not None:
        # Norms and biases are small, and lose more than they save.
        state = {name: value.to(dtype) if value.ndim > 1 else value for name, value in state.items()}
    return HostVideoModel(state, settings)


class LongAnimationLoadVideoMemory(io.ComfyNode):
    """The network that remembers the video."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationLoadVideoMemory",
            display_name="Load Video-XL",
            category=CATEGORY,
            description="Load Video-XL, which remembers the frames made so far, from the file that `everanimate "
            "longanimation convert --video-xl` writes.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folder_paths.get_filename_list(FOLDER),
                    tooltip=f"The converted file, in models/{FOLDER}.",
                ),
                io.Combo.Input(
                    "weight_dtype", options=list(DTYPES), default="default", tooltip="Number type of the weights."
                ),
            ],
            outputs=[
                VideoModelType.Output(
                    display_name="video_model", tooltip="Video-XL, for Remember Frames or Colour Long Animation."
                )
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, file, weight_dtype) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise(FOLDER, file)
        return io.NodeOutput(load_video_model(path, DTYPES[weight_dtype]))


class LongAnimationMemory(io.ComfyNode):
    """What the next window is told of the frames so far."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationMemory",
            display_name="Remember Frames",
            category=CATEGORY,
            description="Remember the frames that a window adds, and those before, for the next window: it colours "
            "like them what the reference does not show.",
            inputs=[
                VideoModelType.Input("video_model", tooltip="Video-XL, from Load Video-XL."),
                io.Image.Input("images", tooltip="The frames that the window adds, from its Finish Window."),
                StateType.Input("state", tooltip="From the same Finish Window."),
                *widgets.of(*MEMORY_KNOBS, among=MEMORY_KNOBS),
                MemoryType.Input(
                    "previous",
                    optional=True,
                    tooltip="The memory that this window was told of itself. Not connected for window 0.",
                ),
            ],
            outputs=[MemoryType.Output(display_name="la_memory", tooltip="For Apply SketchDiT of the next window.")],
        )

    validate_inputs = widgets_checked(MemorySettings)

    @classmethod
    @in_its_name
    def execute(
        cls, video_model, images, state, memory_frames, local_frames, memory_append, previous=None
    ) -> io.NodeOutput:
        memory = video_model.memory(MemorySettings(memory_frames, local_frames, memory_append))
        check_images(images=images)
        frames = len(state.plan.output_range(state.index))
        if len(images) != frames:
            rule = f"must be the {frames} that window {state.index} adds"
            raise InputError("images", rule, "images of its Finish Window", len(images))
        _check_previous(previous, state.index)
        if previous is not None and previous.by != memory:
            raise InputError("previous", "must be by the same video_model and settings", "", "one by others")
        crops = memory.model.crops(images)
        seen = crops if previous is None else torch.cat([previous.seen, crops])
        remembered, held = memory.remember(seen, None if previous is None else previous.held)
        return io.NodeOutput(Remembered(state.index + 1, remembered, memory, seen, held))


def _check_previous(previous: Remembered | None, index: int) -> None:
    """Raise InputError unless this is the memory that window `index` was told of."""
    if index == 0 and previous is not None:
        got = f"the memory of window {previous.index}"
        raise InputError("previous", "must not be connected where images are of window 0", "", got)
    if index and (previous is None or previous.index != index):
        way = "what its Apply SketchDiT was given"
        got = "none" if previous is None else f"that of window {previous.index}"
        raise InputError("previous", f"must be the memory of window {index}", way, got)
