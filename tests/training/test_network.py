"""The LoRA in the real transformers, and the loss."""

from dataclasses import replace

import pytest
import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from everanimate_core.backends.wan_alignment import encode_driving, predict_velocity
from everanimate_core.everanimate.perturbation import Perturbation
from everanimate_core.everanimate.restoration import TRAINING_SIGMAS
from everanimate_core.lora.files import LoraError, lora_from_tensors, lora_state_dict
from everanimate_core.training.checkpointing import enable_checkpointing
from everanimate_core.training.network import Network, batch_loss
from everanimate_core.training.recipe import Recipe
from everanimate_core.training.samples import Batch, assemble, choose, join, make_sample
from everanimate_core.training.state import gather, weights_of

SUFFIXES = {f"{attention}_attn.{name}" for attention in ("self", "cross") for name in "qkvo"} | {"ffn.0", "ffn.2"}


@torch.no_grad()
def give_values(network, seed=1):
    """Values for B, which is zero before training."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.trained().values():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def lora_of(network):
    return lora_from_tensors({name: value.detach().clone() for name, value in network.trained().items()})


@pytest.fixture
def batch():
    """Of the real kind, with CLIP and face; T = 2, N = 4."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    return Batch(
        clean=draw(2, 16, 6, 4, 4),
        drifted=draw(2, 16, 2, 4, 4),
        noise=draw(2, 16, 6, 4, 4),
        context=draw(2, 20, 6, 4, 4),
        pose=draw(2, 16, 2, 4, 4),
        text=draw(2, 512, 8),
        clip=draw(2, 257, 16),
        face=draw(2, 3, 5, 16, 16),
        sigma=torch.tensor([0.9, 0.4]),
    )


def test_ten_layers_of_every_block_are_trained_and_nothing_else(wan):
    network = Network(wan(), 4, 3, 0)
    lora = lora_of(network)
    assert {layer.target for layer in lora.layers} == {f"blocks.{i}.{suffix}" for i in range(5) for suffix in SUFFIXES}
    assert {(layer.rank, layer.scale) for layer in lora.layers} == {(3, 1.0)}
    assert len(list(network.parameters())) > len(network.trained()) == 100
    assert all(value.requires_grad == ("lora_" in name) for name, value in network.named_parameters())


def test_a_is_kaiming_uniform_from_the_seed_and_b_zero(toy):
    network = Network(toy.network("cpu", torch.float32), 4, 32, 0)
    for layer in lora_of(network).layers:
        assert not layer.B.any()
        bound = layer.A.shape[1] ** -0.5  # kaiming-uniform with a = sqrt(5), PEFT's
        assert 0.98 * bound < layer.A.abs().max() <= bound
        assert layer.A.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    transformers = [toy.network("cpu", torch.float32) for _ in range(2)]
    state = torch.random.get_rng_state()
    same, other = (Network(transformer, 4, 32, seed) for seed, transformer in enumerate(transformers))
    assert torch.equal(torch.random.get_rng_state(), state)
    for first, second, third in zip(lora_of(network).layers, lora_of(same).layers, lora_of(other).layers, strict=True):
        assert torch.equal(first.A, second.A) and not torch.equal(first.A, third.A)


def test_an_untrained_lora_changes_no_bit_and_a_trained_one_does(wan, batch):
    transformer = wan()
    driving = encode_driving(transformer, anchors=4, latents=2, pose=batch.pose, face=batch.face)
    model_input = torch.cat([batch.clean, batch.context], dim=1)
    expected = predict_velocity(transformer, driving, model_input, 1000 * batch.sigma, batch.text, batch.clip)
    network = Network(transformer, 4, 2, 0)
    assert torch.equal(network(batch.clean, batch), expected)
    give_values(network)
    assert not torch.allclose(network(batch.clean, batch), expected, atol=1e-3)


@pytest.mark.parametrize("checkpointing", [None, "kept", "offloaded"])
def test_every_factor_learns_with_clip_and_face(wan, batch, checkpointing):
    transformer = wan()
    network = Network(transformer, 4, 2, 0)
    if checkpointing:
        enable_checkpointing(transformer, offload=checkpointing == "offloaded")
    give_values(network)
    batch_loss(network, batch, "gaussian").backward()
    gradients = {name: value.grad for name, value in network.trained().items()}
    assert all(gradient is not None and gradient.any() for gradient in gradients.values())
    assert all(value.grad is None for value in network.parameters() if not value.requires_grad)
    if checkpointing:
        plain = Network(wan(), 4, 2, 0)
        give_values(plain)
        batch_loss(plain, batch, "gaussian").backward()
        assert all(torch.equal(value.grad, gradients[name]) for name, value in plain.trained().items())


def test_a_bfloat16_network_trains_float32_factors(wan, batch):
    transformer = wan().to(torch.bfloat16)
    network = Network(transformer, 4, 2, 0)
    assert {value.dtype for value in network.trained().values()} == {torch.float32}
    loss = batch_loss(network, batch, "none")
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(value.grad.dtype == torch.float32 for value in network.trained().values())


def test_under_autocast_no_lora_has_a_copy_of_what_its_layer_takes_in_and_nothing_changes(wan, batch):
    networks = [Network(wan().to(torch.bfloat16), 4, 2, 0) for _ in range(2)]
    networks[1].compute_in_half()
    gradients, saved = [], []
    for network in networks:
        give_values(network)
        sizes = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
            return tensor

        with torch.autocast("cpu", torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            loss = batch_loss(network, batch, "none")
        loss.backward()
        gradients.append([value.grad for value in network.trained().values()])
        saved.append(sum(size for size, _ in sizes.values()))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert saved[1] < saved[0]


def test_the_loss_of_stage_one_is_weighted_flow_matching(films, toy):
    network = Network(toy.network("cpu", torch.float32), 4, 2, 0)
    batch = join([make_sample(Recipe(1), films, number, None) for number in range(3)])
    tau = 1000 * TRAINING_SIGMAS.double()
    bell = torch.exp(-2 * ((tau - 500) / 1000) ** 2)
    weights = (bell - bell.min()) / (bell - bell.min()).mean()
    expected = 0
    for row in range(3):
        sigma = batch.sigma[row]
        x = (1 - sigma) * batch.clean[row] + sigma * batch.noise[row]
        one = Batch(**{name: None if value is None else value[row : row + 1] for name, value in vars(batch).items()})
        error = (network(x[None], one)[0] - (batch.noise[row] - batch.clean[row])).square().mean()
        expected += weights[(sigma == TRAINING_SIGMAS).nonzero().item()] * error / 3
    assert batch_loss(network, batch, "none").item() == pytest.approx(expected.item(), rel=1e-5)


def test_identity_perturbation_without_weight_is_the_loss_of_stage_one_bit_for_bit(films, toy, codec):
    network = Network(toy.network("cpu", torch.float32), 4, 2, 0)
    for number in range(6):
        choices = replace(choose(Recipe(1), films.settings, number), level=300)
        noise = torch.Generator().manual_seed(number)
        plain = batch_loss(network, assemble(choices, films, 0, None, noise), "none")
        noise = torch.Generator().manual_seed(number)
        nothing = replace(choices, perturbation=Perturbation())
        for schedule in ("none", "gaussian"):
            noise = torch.Generator().manual_seed(number)
            drifted = batch_loss(network, assemble(nothing, films, 0, codec, noise), schedule)
            assert torch.equal(drifted, plain)


def test_a_real_perturbation_changes_the_loss(films, toy, codec):
    network = Network(toy.network("cpu", torch.float32), 4, 2, 0)
    choices = replace(choose(Recipe(1), films.settings, 0), level=300)
    shifted = replace(choices, perturbation=Perturbation(colour_shift=(0.1, 0.0, -0.1)))
    losses = []
    for drawn, schedule in ((choices, "none"), (shifted, "none"), (shifted, "gaussian")):
        losses.append(batch_loss(network, assemble(drawn, films, 0, codec, torch.Generator().manual_seed(0)), schedule))
    assert len({loss.item() for loss in losses}) == 3


def test_a_lora_is_gone_on_with(toy):
    first = Network(toy.network("cpu", torch.float32), 4, 4, 0)
    give_values(first)
    second = Network(toy.network("cpu", torch.float32), 4, 4, 1)
    second.start_from(lora_of(first))
    for one, other in zip(first.trained().values(), second.trained().values(), strict=True):
        assert torch.equal(one, other)


def test_a_scale_is_taken_into_b(wan):
    network, other = Network(wan(), 4, 2, 0), Network(wan(), 4, 2, 1)
    give_values(network)
    lora = lora_of(network)
    other.start_from(replace(lora, layers=tuple(replace(layer, scale=0.5) for layer in lora.layers)))
    for was, now in zip(lora.layers, lora_of(other).layers, strict=True):
        assert torch.equal(now.A, was.A) and torch.equal(now.B, was.B * 0.5)


def test_a_lora_that_does_not_fit_is_refused(wan, toy):
    network = Network(wan(), 4, 2, 0)
    lora = lora_of(network)
    with pytest.raises(ValueError, match=r"^lora must have .* \(50 layers, rank \[4\]\); got 50 layers, rank \[2\]\.$"):
        Network(wan(), 4, 4, 0).start_from(lora)
    with pytest.raises(ValueError, match=r"got 49 layers, rank \[2\]\.$"):
        network.start_from(replace(lora, layers=lora.layers[1:]))
    with pytest.raises(LoraError, match="LoRA of another model"):
        Network(toy.network("cpu", torch.float32), 4, 2, 0).start_from(lora)


def test_peft_reads_what_was_trained(wan):
    """Into a PEFT model of its own, by PEFT's own loader: no key is missing or left over."""
    from peft import LoraConfig, inject_adapter_in_model

    network = Network(wan(), 4, 2, 0)
    give_values(network)
    layers = lora_state_dict(lora_of(network), "diffusers")
    tensors = {name.removeprefix("transformer."): value for name, value in layers.items()}
    config = LoraConfig(r=2, lora_alpha=2, target_modules=sorted({name.split(".lora_")[0] for name in tensors}))
    model = inject_adapter_in_model(config, wan())
    result = set_peft_model_state_dict(model, tensors)
    assert not result.unexpected_keys and not [name for name in result.missing_keys if "lora_" in name]
    read = get_peft_model_state_dict(model)
    assert read.keys() == tensors.keys() and all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_the_gathered_weights_are_those_of_the_network(wan):
    network = Network(wan(), 4, 2, 0)
    optimiser = torch.optim.AdamW(network.trained().values())
    weights = weights_of(gather(network, optimiser), "transformer")
    assert weights.keys() == network.trained().keys()
    assert all(torch.equal(weights[name], value) for name, value in network.trained().items())
