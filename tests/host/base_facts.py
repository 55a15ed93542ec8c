"""What Long Run makes of its inputs and of its methods, as facts that can be compared: {name: value}."""

import torch
from base_folder import PACK
from node_facts import estimate, long_run, mark, noise, run_facts

# What the hosts' nodes write into a CONDITIONING, by the hosts' own names.
TOLD = (
    *("concat_latent_image", "concat_mask", "pose_video_latent", "cross_attn_pose", "pose_strength"),
    *("clip_vision_output", "clip_vision_output_pose", "reference_strength", "start_percent", "end_percent"),
    *("reference_latents", "ref_mask_flag", "ref_mask_28ch", "driving_mask_28ch"),
)
# What is noted of each sampling.
SAMPLED = (
    *("model", "sampler", "sigmas", "cfg", "seeds", "correction", "text", "negative", "samples", "noise_mask"),
    *TOLD,
)


def told_facts(positive, negative):
    """What the network is told by two CONDITIONINGs."""
    parts = [values for _, values in positive + negative]
    assert set().union(*parts) <= set(TOLD)
    facts = {name: [seen(values.get(name)) for values in parts] for name in TOLD}
    return facts | {"text": mark([text for text, _ in positive]), "negative": mark([text for text, _ in negative])}


def seen(value):
    """A value of a CONDITIONING that can be compared; of a picture in CLIP vision, what a network reads."""
    return mark(value["penultimate_hidden_states"] if hasattr(value, "penultimate_hidden_states") else value)


def job_facts(job):
    """The job of Long Run: what drives which chunk, and who is animated."""
    chunks = [job.method.chunk(index).all() for index in range(job.plan.chunk_count)]
    return {
        **run_facts(job),
        "footage": mark([frames["driving_video"] for frames in chunks]),
        "masks": mark([frames.get("driving_mask") for frames in chunks]),
        "references": mark(job.method.references),
    }


def run_of(comfy, inputs):
    """Long Run; the facts of a run. The network is replaced by noise of the seed, held where the host would hold it."""
    nodes, fingerprint = comfy.module(PACK, "nodes.long_run"), comfy.module(PACK, "nodes.fingerprint")

    def sample_latent(model, positive, negative, latent, sampler, sigmas, cfg, seed, on_step):
        inner, correct = getattr(sampler, "sampler", sampler), getattr(sampler, "correct", None)
        samples, mask = latent["samples"], latent.get("noise_mask")
        made = noise(samples.shape, seed)
        noted = {
            **told_facts(positive, negative),
            "model": id(model),
            "sampler": fingerprint.sampler_digest(inner),
            "sigmas": sigmas.tolist(),
            "cfg": cfg,
            "seeds": seed,
            "correction": estimate(correct and correct.estimate),
            "samples": mark(samples),
            "noise_mask": mark(mask),
        }
        return noted, made if mask is None else torch.where(mask > 0, made, samples)

    place = nodes, "sample_latent"
    return long_run(comfy, "EverAnimateLongRun", inputs, job_facts, SAMPLED, place, sample_latent)[0]
