"""Two processes (gloo, on the CPU) compute a transformer together, whose heads and tokens they cannot divide evenly."""

import pytest
import torch
from parallel_parts import uneven_transformer
from refusals import refusal

from everanimate_core.backends.diffusers_wan import DiffusersWan
from everanimate_core.backends.processes import together
from everanimate_core.backends.wan_context_parallel import check_heads
from everanimate_core.everanimate.context import Context
from everanimate_core.everanimate.flow import sigma_schedule

SIGMAS = sigma_schedule(2)


@pytest.fixture(scope="module")
def shared():
    """(transformer, predict): what two processes compute together, and how it is called."""
    transformer = uneven_transformer()
    with together(transformer, uneven_transformer, [torch.device("cpu")] * 2) as predict:
        yield transformer, predict


@pytest.fixture
def sampled(shared, text, clip):
    """sampled(request, **changes): a chunk of two steps, by two processes and by one."""
    transformer, predict = shared

    def sample(request, **changes):
        alone = DiffusersWan(uneven_transformer(), None, text, lambda image: clip, **changes)
        both = DiffusersWan(transformer, None, text, lambda image: clip, **changes, predict=predict)
        return [model.sample_chunk(request, 7, sigmas=SIGMAS) for model in (both, alone)]

    return sample


def assert_equal(both, alone):
    assert alone.std() > 0.5
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-5)


# 3, 5 and 6 frames of 6 tokens: the share of one process ends within a frame, or with one.
@pytest.mark.parametrize("anchors", [1, 3, 4])
def test_with_anchors_pose_and_face_two_processes_are_as_one(sampled, make_request, anchors):
    assert_equal(*sampled(make_request(anchors)))


def test_with_guidance_they_are(sampled, make_request):
    negative = torch.randn(1, 512, 8, generator=torch.Generator().manual_seed(5))
    assert_equal(*sampled(make_request(4), cfg=2.0, negative_text=negative))


@pytest.mark.parametrize("without", ["pose_latents", "face_pixels"])
def test_without_pose_or_face_they_are(sampled, make_request, without):
    assert_equal(*sampled(make_request(4, **{without: None})))


def test_an_odd_number_of_tokens_is_divided_into_two_shares(shared, sampled, make_request):
    transformer, sizes = shared[0], []
    watched = [transformer.blocks[3].ffn, transformer.face_adapter[1]]
    hooks = [module.register_forward_hook(lambda _, inputs, out: sizes.append(out.shape[1])) for module in watched]
    generator = torch.Generator().manual_seed(4)
    context = Context(torch.randn(1, 16, 3, 2, 6, generator=generator), torch.ones(1, 4, 3, 2, 6))
    pose = torch.randn(1, 16, 2, 2, 6, generator=generator)
    assert_equal(*sampled(make_request(1, context=context, pose_latents=pose)))
    for hook in hooks:
        hook.remove()
    # Of 9 tokens, in each of the two at each of two steps.
    assert sizes == [5, 5, 5, 5]


def test_fewer_tokens_than_processes_are_refused(shared, make_request, text, clip):
    transformer, predict = shared
    context = Context(torch.zeros(1, 16, 1, 2, 2), torch.zeros(1, 4, 1, 2, 2))
    model = DiffusersWan(transformer, None, text, lambda image: clip, predict=predict)
    request = make_request(1, context=context, pose_latents=None, face_pixels=None)
    assert refusal(model.sample_chunk, request, 7, sigmas=SIGMAS) == (
        "processes must be at most the number of tokens: one for each latent frame and 16x16 pixels (1); got 2."
    )


def test_as_many_processes_as_get_a_share_of_the_heads():
    transformer = uneven_transformer()
    for processes in (1, 2, 3):
        check_heads(transformer, processes)
    rule = "processes must leave none without a share of the network's 3 attention heads (1, 2, 3); got 4."
    assert refusal(check_heads, transformer, 4) == rule
