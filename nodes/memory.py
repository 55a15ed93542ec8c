"""Nodes that make and hand over the memory."""

from comfy_api.latest import io

from ..everanimate_core.errors import check_finite
from ..everanimate_core.everanimate.drivers import Drivers
from ..everanimate_core.everanimate.memory import build_memory, memory_from_latents
from ..everanimate_core.everanimate.notes import of_pictures
from ..everanimate_core.everanimate.order import next_chunk
from ..everanimate_core.everanimate.propagation import hand_over
from ..everanimate_core.everanimate.settings import Settings
from ..everanimate_core.latents import check_size
from ..everanimate_core.media.blank import WarnOfBlank
from ..everanimate_core.media.frames import fit_frames
from ..everanimate_core.notes import Size
from ..everanimate_core.runs.settings import RunSettings
from . import widgets
from .checks import check_images
from .host import HostCodec, chunk_latents, say, tell_notes, to_network, to_raw
from .marks import check_made_for
from .node import in_its_name
from .notes import size_of
from .sources import frame_source
from .validation import widgets_checked


class EverAnimateMemory(io.ComfyNode):
    """Identity memory from reference images, for chunk 0."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateMemory",
            display_name="Build Memory",
            category=widgets.CATEGORY,
            description="Start the memory of a long animation from one or more pictures of the person.",
            inputs=[
                widgets.vae(),
                widgets.reference_images(),
                *widgets.of("width", "height", "identity_latents", "motion_latents", "fit"),
            ],
            outputs=[widgets.Memory.Output(display_name="memory", tooltip="The memory for chunk 0.")],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = widgets_checked(Settings, RunSettings)

    @classmethod
    @in_its_name
    def execute(cls, vae, reference_images, width, height, identity_latents, motion_latents, fit) -> io.NodeOutput:
        check_size(width, height)
        check_images(reference_images=reference_images)
        pictures = of_pictures([size_of(reference_images)], Size(width, height), fit, str)
        tell_notes(cls.hidden.unique_id, pictures)
        references = fit_frames(reference_images[..., :3].float().cpu(), width, height, fit)
        return io.NodeOutput(build_memory(references, HostCodec(vae), identity_latents, motion_latents))


class EverAnimateMemoryFromLatents(io.ComfyNode):
    """A memory from latents of the user's own."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateMemoryFromLatents",
            display_name="Memory from Latents",
            category=widgets.CATEGORY,
            description="Use latents as they are for identity and motion memory, for example those of an earlier run.",
            inputs=[
                io.Latent.Input("identity", tooltip="The anchors: every latent frame is one. They stay as they are."),
                io.Latent.Input(
                    "motion",
                    optional=True,
                    tooltip="The last latent frames of the chunk before; all of them are carried over. Not connected: "
                    "the next chunk is the first.",
                ),
                io.Image.Input(
                    "reference_image",
                    optional=True,
                    tooltip="The person, in the size of the animation. CLIP vision looks at this picture.",
                ),
            ],
            outputs=[widgets.Memory.Output(display_name="memory", tooltip="The memory for the next chunk.")],
        )

    @classmethod
    @in_its_name
    def execute(cls, identity, motion=None, reference_image=None) -> io.NodeOutput:
        check_images(reference_image=reference_image)
        for name, latent in (("identity", identity), ("motion", motion)):
            if latent is not None:
                check_finite(name, latent["samples"])
        return io.NodeOutput(
            memory_from_latents(
                to_network(identity["samples"]),
                None if motion is None else to_network(motion["samples"]),
                None if reference_image is None else reference_image[..., :3].float().cpu(),
            )
        )


class EverAnimatePropagate(io.ComfyNode):
    """Decode a sampled chunk and hand its memory to the next."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimatePropagate",
            display_name="Propagate Latents",
            category=widgets.CATEGORY,
            description="Take a sampled chunk: decode it, keep its new frames, and hand its last latents to the next "
            "chunk.",
            inputs=[
                widgets.Memory.Input("memory", tooltip="The memory that this chunk was conditioned on."),
                widgets.plan(),
                widgets.chunk_index(),
                io.Latent.Input(
                    "samples", tooltip="What the sampler made of Condition Chunk's latent, anchors included."
                ),
                widgets.vae(),
                *widgets.of("keyframes"),
                widgets.widget("seed", tooltip="Seed of the random keyframes. The sampler has a seed of its own."),
                *widgets.of("tiled"),
                widgets.pose_video("The pose video of Condition Chunk; only keyframes = pose looks at it."),
            ],
            outputs=[
                widgets.Memory.Output(display_name="memory", tooltip="The memory for the next chunk."),
                io.Image.Output(display_name="images", tooltip="The frames that this chunk adds to the animation."),
                io.Latent.Output(display_name="latent", tooltip="The chunk's latents without the anchors."),
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, memory, plan, chunk_index, samples, vae, keyframes, seed, tiled, pose_video=None) -> io.NodeOutput:
        check_images(pose_video=pose_video)
        chunk_index = next_chunk(plan, memory, chunk_index)
        check_made_for(chunk_index, samples, "chunk")
        latents = chunk_latents(samples, plan, memory)
        codec = WarnOfBlank(HostCodec(vae, tiled), say)
        with frame_source("pose_video", pose_video) as pose:
            chunk = Drivers(pose=pose).chunk(plan, chunk_index)
            result = hand_over(chunk, memory, latents, codec, Settings(keyframes=keyframes, seed=seed))
        return io.NodeOutput(result.memory, result.frames, {"samples": to_raw(result.latents)})
