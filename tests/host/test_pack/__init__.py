"""Custom nodes for the test server: small text, CLIP vision and VAE models, and a way to look at raw latents.

A pack of its own, loaded next to the pack under test.
"""

import sys
from pathlib import Path

# The folder is linked into custom_nodes; the builders live beside the real one.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import folder_paths
import tiny_models
from comfy_api.latest import ComfyExtension, io
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


class TestPack(ComfyExtension):
    async def get_node_list(self):
        return [TestTinyConditioning, TestTinyClipVision, TestTinyVae, TestDumpLatent]


async def comfy_entrypoint():
    return TestPack()
