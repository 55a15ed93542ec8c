"""What the nodes of the pack give, as facts that can be compared: {name: value}."""

import json
import re
import shutil

import av
import pytest
import torch
from base_folder import PACK
from kept import latents_of
from node_inputs import HEIGHT, WIDTH, pitch

from everanimate_core.digests import digest
from everanimate_core.latents import with_end
from everanimate_core.runs.settings import ABOUT_THE_START

# The run of Animate Long Video, made anew each time.
RUN = "every_input"
# What is noted of each sampling.
SAMPLED = (
    *("model", "sampler", "sigmas", "cfg", "seeds", "correction"),
    *("text", "negative", "context", "marked", "pose_latents", "face_pixels", "no_face", "clip"),
)


def mark(value):
    """A value that can be compared with ==."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), digest(value.float())
    if isinstance(value, list | tuple):
        return [mark(part) for part in value]
    return value


def memory_facts(memory):
    """A memory."""
    names = ("references", "reference_latents", "identity", "motion", "last_frames", "statistics")
    return {name: mark(getattr(memory, name)) for name in names} | {
        "anchors": memory.anchors,
        "carried": memory.motion_count,
        "frozen": memory.frozen,
    }


def told_facts(positive, negative):
    """What the network is told, by Condition Chunk's two CONDITIONINGs."""
    ((text, values),), ((other, negative_values),) = positive, negative
    looked = values.get("clip_vision_output")
    return {
        "text": mark(text),
        "negative": mark(other),
        "context": mark(values["concat_latent_image"]),
        "marked": mark(values["concat_mask"]),
        "pose_latents": mark(values.get("pose_video_latent")),
        "face_pixels": mark(values.get("face_video_pixels")),
        "no_face": mark(negative_values.get("face_video_pixels")),
        "clip": looked and mark(looked["penultimate_hidden_states"]),
    }


def model_facts(comfy, model):
    """A MODEL."""
    from comfy.patcher_extension import WrappersMP

    fingerprint = comfy.module(PACK, "nodes.fingerprint")
    return {
        "network": fingerprint.network_digest(model),
        "lora": fingerprint.patches_digest(model),
        "aligned": len(model.get_wrappers(WrappersMP.APPLY_MODEL, "everanimate")),
    }


def estimate(correct):
    """What a correction makes of one clean estimate."""
    if correct is None:
        return None
    x0 = torch.randn(1, 16, 7, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(9))
    return mark(correct(x0, torch.tensor([0.7])))


def plan_facts(plan):
    """A plan."""
    return {name: getattr(plan, name) for name in ("total_frames", "chunk_frames", "overlap", "continuation")}


def run_facts(job):
    """The job of a run of any method: how it is divided, what it goes by when it goes on, and what becomes of it."""
    return {
        **plan_facts(job.plan),
        **{f"known_{name}": value for name, value in job.settings().items()},
        "prompts": job.prompts,
        "fps": job.output.fps,
        "sound": type(job.output.sound).__name__,
        "sound_start": job.output.sound_start,
        "metadata": job.output.metadata,
        "as_0_1_0": job.earlier,
    }


def job_facts(job):
    """The job of Animate Long Video: what is made, and from what."""
    memory = job.method.memory
    chunks = [job.method.chunk(index) for index in range(job.plan.chunk_count)]
    drivers = {
        name: mark([getattr(chunk, name) for chunk in chunks]) for name in ("pose", "face", "background", "mask")
    }
    return {
        **run_facts(job),
        **drivers,
        "references": mark(memory.references),
        "identity": mark(memory.identity),
        "anchors": memory.anchors,
        "carried": memory.motion_count,
    }


def video_facts(path):
    """A finished video."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        seen = sum(1 for _ in file.decode(stream)), stream.average_rate, stream.width, stream.height
    return {"video": seen, "pitch": pitch(path)}


def long_run(comfy, node, inputs, job_facts, sampled, place, stand_in):
    """A node that makes a whole video, started anew: the facts of its run, and what else it gives.

    inputs: those of an earlier start under `begun`, if there is one. job_facts(job): of its job.
    place: (object, name) of what samples; stand_in stands there: it gives the facts of a sampling, named in sampled,
    and what it made.
    """
    output, vae = comfy.base / "output" / "everanimate", inputs["vae"]
    running, facts, samplings = comfy.module(PACK, "nodes.running"), {}, []

    def run(job, store, sample_chunk, codec, videos, asked, **callbacks):
        facts.update(job_facts(job))
        facts.update({name: getattr(asked, name) for name in ABOUT_THE_START})
        facts.update(place=(store.folder.name, videos.path(1).name))
        return real_run(job, store, sample_chunk, codec, videos, asked, **callbacks)

    def sample(*asked, **named):
        noted, made = stand_in(*asked, **named)
        samplings.append(noted)
        return made

    begun = inputs.pop("begun", None)
    for path in output.glob(f"{RUN}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        real_run = running.run
        patch.setattr(running, "run", run)
        patch.setattr(*place, sample)
        if begun is not None:
            comfy.call(node, **(inputs | begun))
            samplings.clear()
        vae.work.clear()
        video, last, *others, report = comfy.call(node, **inputs)
    facts |= {name: [noted[name] for noted in samplings] for name in sampled}
    facts |= {"encoded": encodings(vae), "decoded": decodings(vae), "last_chunk": mark(last)}
    facts |= {"latents": [mark(latents) for latents in latents_of(output / inputs["run_name"])]}
    told = json.loads(report)
    facts |= {"made_with": [chunk["noise_seed"] for chunk in told["chunks"]], "take": told["take"]}
    return facts | video_facts(video.get_stream_source()), others


def animate(comfy, inputs):
    """Animate Long Video; the facts of a run."""
    nodes, fingerprint = comfy.module(PACK, "nodes.animate"), comfy.module(PACK, "nodes.fingerprint")

    def sample(model, positive, negative, request, sampler, sigmas, cfg, seed, on_step):
        inner, correct = getattr(sampler, "sampler", sampler), getattr(sampler, "correct", None)
        how = {"model": id(model), "sampler": fingerprint.sampler_digest(inner), "sigmas": sigmas.tolist(), "cfg": cfg}
        correction = {"correction": estimate(correct and correct.estimate)}
        noted = how | {"seeds": seed} | correction | told_facts(positive, negative)
        made = noise(request.latents_shape, seed)[:, :, request.anchors :]
        return noted, made if request.end is None else with_end(made, request.end)

    facts, (memory,) = long_run(comfy, "EverAnimateAnimate", inputs, job_facts, SAMPLED, (nodes, "sample"), sample)
    return facts | {f"after_{name}": value for name, value in memory_facts(memory).items()}


def noise(shape, seed):
    """Noise [1, 16, N + T, h, w], the last frame first: that of the chunk does not go by the number of anchors."""
    batch, channels, frames, height, width = shape
    drawn = torch.randn(frames, batch, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return drawn.flip(0).permute(1, 2, 0, 3, 4).contiguous()


def encodings(vae):
    """How many frames were encoded at once, in order."""
    return [work for work in vae.work if work[0] == "encode"]


def decodings(vae):
    """How many latents were decoded at once, and how, in order."""
    return [work for work in vae.work if work[0] != "encode"]


def facts_of(comfy, node, inputs):
    """What a node gives, {fact: value}."""
    return animate(comfy, inputs) if node == "EverAnimateAnimate" else given(comfy, node, inputs, GIVEN[node])


def given(comfy, node, inputs, facts_of_outputs):
    """What a node gives, and what it asks of its VAE, if it has one. facts_of_outputs(comfy, *outputs)."""
    vae = inputs.get("vae")
    if vae is not None:
        vae.work.clear()
    facts = facts_of_outputs(comfy, *comfy.call(node, **inputs))
    return facts if vae is None else facts | {"encoded": encodings(vae), "decoded": decodings(vae)}


def drift_facts(comfy, plot, report, table):
    """Drift Report's curves and numbers, rounded, and how its table was divided."""
    found = json.loads(report)
    facts = {"plot": mark(plot), "joins": found["joins"], "compared_with": found["compared_with"]}
    facts["divided"] = re.search(r"not divided|in chunks of \d+ frames, overlap \d+", table)[0]
    facts |= {name: [value and round(value, 4) for value in curve] for name, curve in found["curves"].items()}
    seams = found["numbers"].get("seam_index")
    return facts | {"true_steps": mark(found["truth"].get("step")), "seam_index": seams and round(seams, 3)}


def flow_facts(comfy, model):
    """Restore Flow's MODEL, and the correction that it brings to each sampling."""
    from comfy.patcher_extension import WrappersMP

    wrappers = model.get_wrappers(WrappersMP.SAMPLER_SAMPLE, comfy.module(PACK, "nodes.sampling").RESTORE_KEY)
    return model_facts(comfy, model) | {"correction": estimate(wrappers[-1].correct.estimate if wrappers else None)}


GIVEN = {
    "EverAnimateLoadLora": model_facts,
    "EverAnimatePatchModel": model_facts,
    "EverAnimateMemory": lambda comfy, memory: memory_facts(memory),
    "EverAnimateMemoryFromLatents": lambda comfy, memory: memory_facts(memory),
    "EverAnimatePlanChunks": lambda comfy, plan, count, total: plan_facts(plan) | {"chunks": count, "frames": total},
    "EverAnimateChunk": lambda comfy, positive, negative, latent: (
        told_facts(positive, negative) | {"latent": mark(latent["samples"])}
    ),
    "EverAnimateSigmas": lambda comfy, sigmas: {"sigmas": [round(sigma, 4) for sigma in sigmas.tolist()]},
    "EverAnimateRestorativeSampler": lambda comfy, sampler: {
        "sampler": comfy.module(PACK, "nodes.fingerprint").sampler_digest(getattr(sampler, "sampler", sampler)),
        "correction": estimate(sampler.correct.estimate if hasattr(sampler, "correct") else None),
    },
    "EverAnimateRestoreFlow": flow_facts,
    "EverAnimatePropagate": lambda comfy, memory, images, latent: (
        memory_facts(memory) | {"images": mark(images), "latent": mark(latent["samples"])}
    ),
    "EverAnimateJoinChunks": lambda comfy, images: {"images": mark(images)},
    "EverAnimateChunkFrames": lambda comfy, images, previous_frames, offset, keep_from, keep_count: {
        "images": mark(images),
        "previous_frames": mark(previous_frames),
        "offset": offset,
        "kept": (keep_from, keep_count),
    },
    "EverAnimateDriftReport": drift_facts,
    "EverAnimateLoadToy": lambda comfy, model, vae, positive, negative, reference, pose, truth: {
        "network": mark(model.model.diffusion_model.head.head.weight),
        "reference": mark(reference),
        "pose": mark(pose),
        "truth": mark(truth),
        "frames": (len(pose), len(truth)),
    },
}
