"""The network in training: diffusers' transformer behind N anchors, with a LoRA in the linear layers of its blocks."""

import torch
from torch import Tensor, nn

from ..backends.diffusers_wan import MAX_TIMESTEP
from ..backends.wan_alignment import encode_driving, predict_velocity
from ..errors import InputError, needed
from ..everanimate.restoration import restorative_loss, training_pair
from ..lora.files import Lora, LoraLayer
from ..lora.fit import check_coverage
from ..lora.names import to_original
from .samples import Batch

peft = needed("peft", "training")

# q, k, v, o, ffn.0 and ffn.2 of every block; a list of suffixes would also hit the face adapter.
TARGETS = r"blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ffn\.net\.(0\.proj|2))"
# PEFT's name of the adapter, which the released files have in their keys.
ADAPTER = "default"
_FACTORS = {f".lora_A.{ADAPTER}.weight": "A", f".lora_B.{ADAPTER}.weight": "B"}


class Network(nn.Module):
    """Velocity of a batch's states. transformer: as load_transformer gives it. anchors: N. The LoRA is all that is
    trained: rank = alpha, A kaiming-uniform from `seed`, B zero, both float32 whatever the transformer's dtype."""

    def __init__(self, transformer: nn.Module, anchors: int, rank: int, seed: int):
        super().__init__()
        config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.transformer = peft.inject_adapter_in_model(config, transformer, adapter_name=ADAPTER)
        self.anchors = anchors
        for parameter in self.trained().values():
            parameter.data = parameter.data.float()

    def forward(self, state: Tensor, batch: Batch) -> Tensor:
        """state: [B, 16, N + T, h, w] at noise levels batch.sigma -> velocity of the same shape."""
        transformer = self.transformer
        dtype = transformer.patch_embedding.weight.dtype
        latents = batch.pose.shape[2]
        driving = encode_driving(transformer, anchors=self.anchors, latents=latents, pose=batch.pose, face=batch.face)
        clip = None if batch.clip is None else batch.clip.to(dtype)
        model_input = torch.cat([state, batch.context], dim=1).to(dtype)
        timestep = MAX_TIMESTEP * batch.sigma
        return predict_velocity(transformer, driving, model_input, timestep, batch.text.to(dtype), clip)

    def compute_in_half(self) -> None:
        """From now on, to be called under torch's autocast to bfloat16 only: LoRAs then share what their layers take
        in, instead of having a float32 copy of it each."""
        for layer in self.transformer.modules():
            if isinstance(layer, peft.tuners.tuners_utils.BaseTunerLayer):
                layer.cast_input_dtype_enabled = False

    def trained(self) -> dict[str, nn.Parameter]:
        """The LoRA's parameters, {name in the transformer: parameter}."""
        return {name: value for name, value in self.transformer.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def start_from(self, lora: Lora) -> None:
        """Go on from a LoRA; ValueError unless it has just the layers, shapes and rank that are trained here."""
        layers = {layer.target: layer for layer in lora.layers}
        trained = {name: self._factor(name) for name in self.trained()}
        targets = {target for target, _ in trained.values()}
        check_coverage(lora, _base_shapes(self.transformer))
        ranks = {layer.rank for layer in lora.layers}
        rank = {value.shape[0] for name, value in self.trained().items() if trained[name][1] == "A"}
        if layers.keys() != targets or ranks != rank:
            raise InputError(
                "lora",
                "must have the layers and the rank of the training",
                f"{len(targets)} layers, rank {sorted(rank)}",
                f"{len(layers)} layers, rank {sorted(ranks)}",
            )
        for name, parameter in self.trained().items():
            target, factor = trained[name]
            parameter.copy_(_scaled(layers[target], factor))

    def _factor(self, name: str) -> tuple[str, str]:
        """The layer's original name and "A" or "B"."""
        ending = next(ending for ending in _FACTORS if name.endswith(ending))
        return to_original(name.removesuffix(ending)), _FACTORS[ending]


def _scaled(layer: LoraLayer, factor: str) -> Tensor:
    """A, or B with the layer's scale in it: here alpha = rank."""
    return layer.A if factor == "A" else layer.B.float() * layer.scale


def _base_shapes(transformer: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights, under the names that they had before PEFT wrapped their layers."""
    return {
        name.replace(".base_layer.", "."): tuple(value.shape)
        for name, value in transformer.named_parameters()
        if not value.requires_grad
    }


def batch_loss(network: nn.Module, batch: Batch, schedule: str) -> Tensor:
    """Eq. 12 over the batch, a scalar; with drifted = target it is plain flow matching. network: a Network, or one in
    accelerate's wrapping."""
    pair = training_pair(batch.clean, batch.drifted, batch.noise, batch.sigma, schedule)
    return restorative_loss(network(pair.state, batch), pair.target, batch.sigma)
