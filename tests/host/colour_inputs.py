"""Inputs for the nodes of LongAnimation, small and each made once, for tests that change them one by one."""

from types import SimpleNamespace

from base_folder import PACK
from node_inputs import HEIGHT, WIDTH, Parts, once
from safetensors.torch import save_file
from tensor_parts import randn

FRAMES, OVERLAP = 17, 9
STEPS, FIRST = 5, 2
# Up to which half of the pixels of random pictures count as lines.
THRESHOLD = 0.5
# Width of the memory of the video, that of the tiny Video-XL.
KV = 32
# Fewer frames than two windows have: which ones are remembered then makes a difference.
REMEMBERED = {"memory_frames": 10, "local_frames": 4}
# Two windows.
TOTAL = 2 * FRAMES - OVERLAP
# Of a window's latents, that of the reference in front.
SHAPE = 1, 16, 2 + (FRAMES - 1) // 4, HEIGHT // 8, WIDTH // 8


class ColourParts(Parts):
    """Inputs of nodes, each made once."""

    @once
    def base(self, seed=0):
        """The name of a file with the base network."""
        import colour_parts

        return self.written("diffusion_models", f"every_base_{seed}", colour_parts.base_network(seed))

    @once
    def sketch(self, seed=1):
        """The name of a file with SketchDiT."""
        import colour_parts

        return self.written("controlnet", f"every_sketch_{seed}", colour_parts.sketch_network(seed))

    @once
    def dglm(self, seed=1):
        """The name of a file with DGLM."""
        import colour_parts

        sizes = self.comfy.module(PACK, "everanimate_core.longanimation.dglm").DglmSizes(
            width=128, kv=KV, narrow=12, wide=24, inner=96
        )
        return self.written("controlnet", f"every_dglm_{seed}", colour_parts.dglm_network(seed, sizes))

    def written(self, folder, name, network):
        """The name of a file of the host with the weights of a network."""
        path = self.comfy.base / "models" / folder / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
        return path.name

    @once
    def model(self, seed=0):
        """The tiny model; one with so few heads is told the latent format of CogVideoX1.5."""
        import comfy.latent_formats

        (model,) = self.comfy.call("LongAnimationLoadBase", file=self.base(seed))
        model.model.latent_format = comfy.latent_formats.CogVideoX1_5()
        return model

    @once
    def control(self, seed=1, dglm=None):
        """The tiny SketchDiT, with the tiny DGLM of a seed."""
        memory = {} if dglm is None else {"memory_file": self.dglm(dglm)}
        return self.comfy.call("LongAnimationLoad", sketch_file=self.sketch(seed), **memory)[0]

    @once
    def memory(self, seed=0, index=0):
        """What a window is told of the video so far."""
        remembered = self.comfy.module(PACK, "nodes.longanimation").Remembered
        return remembered(index, randn(2, 3, 20, KV, seed=seed), by=None, seen=None, held=None)

    @once
    def video_file(self, seed=0):
        """The name of a file with Video-XL."""
        import video_model_parts

        from everanimate_core.longanimation.video_files import write_video_model

        path = self.comfy.base / "models" / "text_encoders" / f"every_video_{seed}.safetensors"
        path.parent.mkdir(exist_ok=True)
        network = video_model_parts.video_model(seed)
        write_video_model(path, network.state_dict(), network.settings)
        return path.name

    @once
    def video_model(self, seed=0):
        """The tiny Video-XL."""
        return self.comfy.call("LongAnimationLoadVideoMemory", file=self.video_file(seed))[0]

    @once
    def remembered(self, seed=1, **settings):
        """The memory of the first window."""
        inputs = {"video_model": self.video_model(), "images": self.pictures(FRAMES, seed), "state": self.state()}
        return self.comfy.call("LongAnimationMemory", **inputs, **(REMEMBERED | settings))[0]

    @once
    def vae(self, brighter=False):
        """The VAE of exact arithmetic, which says that it is CogVideoX's."""
        from comfy.ldm.cogvideo.vae import AutoencoderKLCogVideoX

        vae = super().vae(brighter)
        vae.first_stage_model = AutoencoderKLCogVideoX(block_out_channels=(8, 8, 8, 8), layers_per_block=1, groups=2)
        return vae

    @once
    def text(self, seed=0):
        """A prompt."""
        return [[randn(1, 7, 48, seed=seed), {}]]

    @once
    def plan(self, total=TOTAL + FRAMES - OVERLAP, frames=FRAMES, overlap=OVERLAP):
        """A plan of windows, three unless told otherwise."""
        inputs = {"total_frames": total, "window_frames": frames, "overlap": overlap}
        return self.comfy.call("LongAnimationPlan", **inputs)[0]

    @once
    def tails(self, seed=0):
        """What the late steps of a window kept."""
        return randn(STEPS - FIRST, 16, OVERLAP // 4, *SHAPE[3:], seed=seed)

    @once
    def state(self, seed=0, index=0, **plan):
        """What a finished window hands on."""
        handed = self.comfy.module(PACK, "nodes.longanimation").Handed
        return handed(index, self.plan(**plan), {"tails": self.tails(seed)})

    @once
    def ends(self, seed=0, index=1, **plan):
        """What the sampler of a window recorded."""
        kept = SimpleNamespace(kept=self.tails(seed))
        return self.comfy.module(PACK, "nodes.longanimation").Ends(index, self.plan(**plan), True, kept)

    @once
    def samples(self, seed=0):
        """What a sampler may have made of a window, the reference's slot included."""
        return {"samples": randn(*SHAPE, seed=seed)}

    @once
    def window(self, later=False, seed=1):
        """The first window, or a later one; seed: of the line art."""
        inputs = {name: self.text() for name in ("positive", "negative")} | {"width": WIDTH, "height": HEIGHT}
        inputs |= {"vae": self.vae(), "plan": self.plan(), "reference": self.pictures(1), "threshold": THRESHOLD}
        before = {"window_index": 1, "previous": self.state()} if later else {}
        return self.comfy.call("LongAnimationCondition", lineart=self.pictures(TOTAL, seed), **inputs, **before)[3]
