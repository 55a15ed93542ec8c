"""Custom nodes for the test server: small text, CLIP vision, VAE and SAM 3 models, keypoints, a way to look at latents.

A pack of its own, loaded next to the pack under test.
"""

import json
import sys
from copy import copy
from pathlib import Path

# The folder is linked into custom_nodes; the builders live beside the real one.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import folder_paths
import segmenting
import tiny_models
import torch
from comfy_api.latest import ComfyExtension, io
from comfy_execution.graph_utils import GraphBuilder
from safetensors.torch import save_file


class TestTinyConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="TestTinyConditioning",
            category="test",
            inputs=[io.Int.Input("seed", default=0)],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, seed):
        return io.NodeOutput(tiny_models.conditioning(seed))


class TestTinyClipVision(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestTinyClipVision", category="test", inputs=[], outputs=[io.ClipVision.Output()])

    @classmethod
    def execute(cls):
        return io.NodeOutput(tiny_models.clip_vision(folder_paths.get_temp_directory()))


class TestTinyVae(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestTinyVae", category="test", inputs=[], outputs=[io.Vae.Output()])

    @classmethod
    def execute(cls):
        return io.NodeOutput(tiny_models.load_vae())


class TestFullCard(io.ComfyNode):
    """A VAE that has no room for the latents of chunk `chunk`, in tiles neither, as on a card that is full."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="TestFullCard",
            category="test",
            inputs=[io.Vae.Input("vae"), io.Int.Input("chunk")],
            outputs=[io.Vae.Output()],
        )

    @classmethod
    def execute(cls, vae, chunk):
        full, decode, left = copy(vae), vae.decode, [chunk]

        def decode_or_fail(latents):
            left[0] -= 1
            if left[0] < 0:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return decode(latents)

        full.decode = decode_or_fail
        return io.NodeOutput(full)


class TestSegmenter(io.ComfyNode):
    """SAM 3.1 that follows red boxes."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestSegmenter", category="test", inputs=[], outputs=[io.Model.Output()])

    @classmethod
    def execute(cls):
        return io.NodeOutput(segmenting.segmenter())


class TestKeypoints(io.ComfyNode):
    """POSE_KEYPOINT out of a JSON file in the input folder."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="TestKeypoints",
            category="test",
            inputs=[io.String.Input("file")],
            outputs=[io.Custom("POSE_KEYPOINT").Output()],
        )

    @classmethod
    def execute(cls, file):
        path = Path(folder_paths.get_input_directory()) / file
        return io.NodeOutput(json.loads(path.read_text(encoding="utf-8")))


class TestDumpLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="TestDumpLatent",
            category="test",
            inputs=[io.Latent.Input("samples"), io.String.Input("name", default="latent")],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, samples, name):
        path = Path(folder_paths.get_output_directory()) / f"{name}.safetensors"
        save_file({"samples": samples["samples"].contiguous()}, path)
        return io.NodeOutput()


class TestChunkLoop(io.ComfyNode):
    """The pack's chunk nodes as a loop that grows by node expansion, as loop packs do it: one memory is carried."""

    @classmethod
    def define_schema(cls):
        names = {
            "model": io.Model,
            "vae": io.Vae,
            "text": io.Conditioning,
            "clip_vision": io.ClipVision,
            "pose_video": io.Image,
            "memory": io.Custom("EVERANIMATE_MEMORY"),
            "plan": io.Custom("EVERANIMATE_PLAN"),
            "sampler": io.Sampler,
            "sigmas": io.Sigmas,
        }
        return io.Schema(
            node_id="TestChunkLoop",
            category="test",
            inputs=[kind.Input(name) for name, kind in names.items()] + [io.Int.Input("count")],
            outputs=[io.Image.Output()],
            enable_expand=True,
        )

    @classmethod
    def execute(cls, model, vae, text, clip_vision, pose_video, memory, plan, sampler, sigmas, count):
        graph, images = GraphBuilder(), None
        for index in range(count):
            common = {"memory": memory, "plan": plan, "chunk_index": index, "vae": vae}
            chunk = graph.node(
                "EverAnimateChunk",
                positive=text,
                negative=text,
                pose_video=pose_video,
                clip_vision=clip_vision,
                clip_source="last_frame",
                fit="stretch",
                **common,
            )
            samples = graph.node(
                "SamplerCustom",
                model=model,
                add_noise=True,
                noise_seed=42 * index,
                cfg=1.0,
                positive=chunk.out(0),
                negative=chunk.out(1),
                sampler=sampler,
                sigmas=sigmas,
                latent_image=chunk.out(2),
            )
            handed = graph.node(
                "EverAnimatePropagate", samples=samples.out(0), keyframes="random", seed=0, tiled=False, **common
            )
            graph.node("TestDumpLatent", samples=handed.out(2), name=f"loop_{index}")
            joined = {} if images is None else {"previous": images}
            images = graph.node("EverAnimateJoinChunks", images=handed.out(1), **joined).out(0)
            memory = handed.out(0)
        return io.NodeOutput(images, expand=graph.finalize())


class TestPack(ComfyExtension):
    async def get_node_list(self):
        return [
            TestTinyConditioning,
            TestTinyClipVision,
            TestTinyVae,
            TestFullCard,
            TestSegmenter,
            TestKeypoints,
            TestDumpLatent,
            TestChunkLoop,
        ]


async def comfy_entrypoint():
    return TestPack()
