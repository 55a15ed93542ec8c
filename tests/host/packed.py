"""A stand-in for packs that hold weights in a packed form, as GGUF files have them.

The parameters are bytes that say which shape they unpack to, and the state dict has empty tensors in their place: of
the packed shape, and one of a parameter that is not there, to say how much memory unpacking takes.
"""

import torch


class PackedWeight(torch.Tensor):
    """The bytes of a weight, [out, 4 in], that give `unpacked_shape` as their shape."""

    @property
    def shape(self):
        return getattr(self, "unpacked_shape", None) or self.size()

    def detach(self):
        return self


def pack_linear_layers(network):
    """Pack every linear layer of the module `network` in place."""
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            weight = module.weight.detach().contiguous()
            packed = weight.view(torch.uint8).clone().as_subclass(PackedWeight)
            packed.unpacked_shape = weight.size()
            module.weight = torch.nn.Parameter(packed, requires_grad=False)
            module.register_state_dict_post_hook(_empty)


def _empty(module, state, prefix, _):
    for name in ("weight", "bias"):
        value = getattr(module, name)
        if value is not None:
            state[prefix + name] = torch.empty(value.size(), dtype=value.dtype, device="meta")
    state[f"{prefix}temp.weight"] = torch.empty(module.weight.shape, dtype=torch.float16, device="meta")
