"""What the nodes of LongAnimation give, as facts that can be compared: {name: value}."""

from types import SimpleNamespace

import torch
from base_folder import PACK
from colour_inputs import SHAPE
from node_facts import given, long_run, mark, plan_facts, run_facts
from tensor_parts import randn

from everanimate_core.digests import weights_digest

# What is noted of each sampling of Colour Long Animation.
SAMPLED = (
    *("network", "sketch", "dglm", "lines", "reference_lines", "behind", "added", "text", "negative", "colours"),
    *("noise", "seeds", "cfg", "sigmas", "steps", "blended", "tails"),
)


def digest_of(comfy, patcher):
    """Stands for the weights of a MODEL, a SketchDiT or a VAE."""
    return comfy.module(PACK, "nodes.fingerprint").network_digest(patcher)


def steering(comfy, model, shape):
    """A MODEL with line art on it: its networks, the lines that SketchDiT sees, behind which blocks its answer is
    added, and what is added. shape: of the state."""
    from comfy.patcher_extension import WrappersMP

    key = comfy.module(PACK, "nodes.cogvideo").SKETCH_KEY
    (steered,) = model.get_wrappers(WrappersMP.DIFFUSION_MODEL, key)
    sketch, *memory = model.get_additional_models_with_key(key)
    blocks, seen, added = [torch.nn.Identity() for _ in model.model.diffusion_model.blocks], [], []

    def network(*_, **__):
        added.extend(block((torch.zeros(()), None))[0] for block in blocks)

    network.class_obj = SimpleNamespace(blocks=blocks)
    hook = sketch.model.register_forward_pre_hook(lambda _, asked: seen.append(asked[0][:, :16]))
    state = torch.zeros(1, 32, *shape[2:])
    steered(network, state, torch.tensor([500.0]), randn(1, 7, 48, seed=0), torch.tensor([2.0]))
    hook.remove()
    behind = [number for number, value in enumerate(added) if value.any()]
    return {
        "network": digest_of(comfy, model),
        "sketch": digest_of(comfy, sketch),
        "dglm": [digest_of(comfy, network) for network in memory],
        **lines_of(seen[0]),
        "behind": behind,
        "added": mark([added[number] for number in behind[:1]]),
    }


def lines_of(sketch):
    """The lines of a window, and the reference's."""
    return {"lines": mark(sketch[:, :, 1:]), "reference_lines": mark(sketch[:, :, :1])}


def told_facts(positive, negative):
    """What the network is told, by Condition Window's two CONDITIONINGs."""
    ((text, values),), ((other, negative_values),) = positive, negative
    colours = [told["concat_latent_image"] for told in (values, negative_values)]
    return {"text": mark(text), "negative": mark(other), "colours": mark(colours)}


def window_facts(window):
    """A window."""
    return {"index": window.index, **lines_of(window.sketch), "tails": mark(window.tails)}


def sampler_facts(comfy, sampler, ends):
    """LongAnimation Sampler: what it makes of noise with a network that halves its input, and what it records."""
    levels = torch.linspace(9, 0, sampler.steps + 1)
    samples = sampler.sample(lambda x, sigma, seed: x / 2, levels, {"seed": 3}, None, randn(*SHAPE, seed=4))
    return {
        "steps": sampler.steps,
        "samples": mark(samples),
        "kept": ends.fusion and [mark(kept) for kept in ends.fusion.kept],
    }


def job_facts(job):
    """The job of Colour Long Animation: what is coloured, and like what."""
    method = job.method
    return {
        **run_facts(job),
        "lineart": mark([method.chunk(index).frames for index in range(job.plan.chunk_count)]),
        "reference": mark(method.reference),
        "reference_lineart": mark(method.reference_lineart),
    }


def animate(comfy, inputs):
    """Colour Long Animation; the facts of a run. The network is replaced by its noise, blended in every step."""
    nodes = comfy.module(PACK, "nodes.longanimation_animate")

    def sample_custom(model, noise, cfg, sampler, sigmas, positive, negative, latent, callback, disable_pbar, seed):
        fusion, state = sampler.fusion(), noise
        noted = steering(comfy, model, latent.shape) | told_facts(positive, negative)
        noted |= {"noise": mark(noise), "seeds": seed, "cfg": cfg, "sigmas": sigmas.tolist(), "steps": sampler.steps}
        noted |= {"blended": fusion and (fusion.first, fusion.shared), "tails": mark(fusion and fusion.before)}
        for step in range(sampler.steps if fusion else 0):
            state = fusion(step, state, state)
        return noted, state

    place = nodes.comfy.sample, "sample_custom"
    return long_run(comfy, "LongAnimationAnimate", inputs, job_facts, SAMPLED, place, sample_custom)[0]


def facts_of(comfy, node, inputs):
    """What a node gives, {fact: value}."""
    if node == "LongAnimationAnimate":
        return animate(comfy, inputs)
    return given(comfy, node, inputs, GIVEN[node])


def toy_facts(comfy, model, control, vae, positive, negative, *pictures):
    """Load Toy Line Art."""
    networks = {"network": model, "sketch": control.patcher, "vae": vae.patcher}
    facts = {name: digest_of(comfy, patcher) for name, patcher in networks.items()}
    names = "lineart", "reference", "reference_lineart", "truth"
    facts |= {name: mark(frames) for name, frames in zip(names, pictures, strict=True)}
    return facts | {"frames": [len(frames) for frames in pictures], "text": mark(positive[0][0] + negative[0][0])}


GIVEN = {
    "LongAnimationLoadBase": lambda comfy, model: {
        "network": digest_of(comfy, model),
        "dtype": str(model.model.diffusion_model.blocks[0].q.weight.dtype),
    },
    "LongAnimationLoad": lambda comfy, control: {
        "sketch": digest_of(comfy, control.patcher),
        "sizes": control.sizes,
        "dglm": control.memory and digest_of(comfy, control.memory.patcher),
    },
    "LongAnimationPlan": lambda comfy, plan, count, total: plan_facts(plan) | {"windows": count, "frames": total},
    "LongAnimationCondition": lambda comfy, positive, negative, latent, window: (
        told_facts(positive, negative) | window_facts(window) | {"latent": mark(latent["samples"])}
    ),
    "LongAnimationApply": lambda comfy, model: steering(comfy, model, SHAPE),
    "LongAnimationSampler": sampler_facts,
    "LongAnimationFinish": lambda comfy, handed, images, latent: {
        "index": handed.index,
        "tails": mark(handed.state.get("tails")),
        "images": mark(images),
        "latent": mark(latent["samples"]),
    },
    "LongAnimationLoadVideoMemory": lambda comfy, model: {
        "network": digest_of(comfy, model.patcher),
        "dtype": str(model.patcher.model.language.layers[0].self_attn["k_proj"].weight.dtype),
    },
    "LongAnimationMemory": lambda comfy, remembered: {
        "index": remembered.index,
        "memory": mark(remembered.memory),
        "network": weights_digest(remembered.by.model.state_dict().items()),
        "seen": mark(remembered.seen),
        "held": remembered.held and mark(remembered.held.past),
    },
    "LongAnimationLoadToy": toy_facts,
}
