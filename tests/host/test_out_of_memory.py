"""Memory that runs out inside the host: who hears of it, what to change, and that finished chunks stay."""

import logging
from contextlib import contextmanager

import pytest
import torch
from clips import moving_pattern, reference_image
from graphs import ANCHORS, FRAMES, SIZE, STEPS, TOTAL, aligned, condition, first_memory, plan, sample
from kept import latents_of, takes
from long_runs import ANIMATE2, long_run
from server_process import RunError
from test_animate import animate, animate_prompt, kept_latents, run_folder

SAID = "CUDA out of memory. Tried to allocate 20.00 GiB."
HELP = (
    "Close other programs that use it. Or let more of the network wait in RAM: load it in fp8, start ComfyUI with "
    "--reserve-vram 4, or with --lowvram where it has no dynamic VRAM."
)
WHILE = {"sample": "sampling", "encode": "encoding frames", "decode": "decoding latents"}
LESS = {
    "sample": "a smaller width or a smaller height or a smaller chunk_frames (all chunks are made anew then)",
    "encode": "a smaller width or a smaller height (all chunks are made anew then)",
    "decode": "tiled switched on or a smaller width or a smaller height (all chunks are made anew then; where only "
    "tiled changes, from_chunk 1 leaves finished ones)",
}


def out_of_memory(*_):
    raise torch.cuda.OutOfMemoryError(SAID)


@contextmanager
def exhausted(comfy, at, chunk=1, times=99):
    """The card is full at that stage of a chunk: inside the host's sampling, or inside its VAE, below the tiles that
    it goes on in by itself. times: how often the VAE has no room."""
    network, vae = comfy.load_model().model.diffusion_model, comfy.load_vae().first_stage_model
    calls, left = [], [times]

    def count(*_):
        calls.append(1)
        if at == "sample" and len(calls) > chunk * STEPS:
            out_of_memory()

    def full(doing):
        whole = getattr(vae, doing)

        def call(values, *rest, **named):
            sampled = (chunk + 1 if doing == "decode" else chunk) * STEPS
            whole_chunk = values.shape[2] == (FRAMES if doing == "encode" else (FRAMES - 1) // 4 + 1)
            if doing == at and len(calls) >= sampled and whole_chunk and left[0]:
                left[0] -= 1
                out_of_memory()
            return whole(values, *rest, **named)

        return call

    hook = network.register_forward_pre_hook(count)
    vae.encode, vae.decode = full("encode"), full("decode")
    try:
        yield
    finally:
        hook.remove()
        del vae.encode, vae.decode


def seen_as_such(error):
    """Whether the host takes an error for one of its own about memory, after which it unloads its models."""
    from comfy import model_management

    # Newer hosts have a function of more kinds.
    is_oom = getattr(model_management, "is_oom", lambda error: isinstance(error, model_management.OOM_EXCEPTION))
    return is_oom(error)


@pytest.mark.parametrize("at", WHILE)
def test_animate_long_video(comfy, at):
    with exhausted(comfy, at), pytest.raises(RuntimeError) as caught:
        animate(comfy, f"full_{at}")
    folder = run_folder(comfy, f"full_{at}")
    assert str(caught.value) == (
        f"Animate Long Video: out of GPU memory while {WHILE[at]} in chunk 1; got {SAID} {HELP} It needs less with "
        f"{LESS[at]}. 1 finished chunks are kept in {folder}; the same run goes on from there."
    )
    assert seen_as_such(caught.value)
    assert len(takes(folder)[-1].chunks) == 1
    first = latents_of(folder)[0]
    animate(comfy, f"full_{at}")
    animate(comfy, "never_full")
    assert torch.equal(kept_latents(comfy, f"full_{at}")[0], first)
    for again, straight in zip(kept_latents(comfy, f"full_{at}"), kept_latents(comfy, "never_full"), strict=True):
        assert torch.equal(again, straight)


def test_full_ram_is_no_full_card(comfy, monkeypatch):
    """After which the host would move its models to RAM."""
    monkeypatch.setattr(
        comfy.load_vae().first_stage_model, "decode", lambda *values, **named: torch.empty(2**50), raising=True
    )
    with pytest.raises(RuntimeError, match=r"^Animate Long Video: out of memory \(RAM\) while decoding") as caught:
        animate(comfy, "full_ram")
    assert not seen_as_such(caught.value)
    assert "--lowvram" not in str(caught.value)


def test_the_single_nodes(comfy):
    text = {"positive": comfy.conditioning(), "negative": comfy.conditioning()}
    memory, drawn, vae = first_memory(comfy), plan(comfy), comfy.load_vae()
    positive, negative, latent = condition(comfy, memory, drawn)
    samples = sample(comfy, aligned(comfy), positive, negative, latent)

    def refused(at, node, **inputs):
        with exhausted(comfy, at, chunk=-1), pytest.raises(torch.cuda.OutOfMemoryError) as caught:
            comfy.call(node, vae=vae, **inputs)
        return str(caught.value)

    chunk = {"memory": memory, "plan": drawn, "chunk_index": 0}
    full = f"out of GPU memory while {{}}; got {SAID} {HELP} It needs less with"
    told = refused("encode", "EverAnimateChunk", pose_video=moving_pattern(TOTAL), **text, **chunk)
    assert told == f"Condition Chunk: {full.format(WHILE['encode'])} a smaller width or a smaller height."
    told = refused("decode", "EverAnimatePropagate", samples=samples, **chunk)
    assert told.startswith(f"Propagate Latents: {full.format(WHILE['decode'])} tiled switched on or")
    assert not told.count("chunk ")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(torch.cuda.OutOfMemoryError, match=r"^Build Memory: out"):
        patch.setattr(vae.first_stage_model, "encode", out_of_memory)
        sizes = {"width": SIZE, "height": SIZE, "identity_latents": ANCHORS}
        comfy.call("EverAnimateMemory", vae=vae, reference_images=reference_image(), **sizes)


def test_long_run(comfy, monkeypatch):
    """Its frames are encoded by the host's own node."""
    if ANIMATE2.node not in comfy.nodes:
        pytest.skip("needs ComfyUI 0.31 or newer")
    monkeypatch.setattr(comfy.load_vae().first_stage_model, "encode", out_of_memory)
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"^Long Run: out of GPU memory while encoding frames in"):
        long_run(comfy, ANIMATE2, "full_long_run", 17)


@pytest.mark.parametrize(("at", "verb"), [("encode", "encodes"), ("decode", "decodes")])
def test_tiles_that_the_host_takes_by_itself_are_told_of(comfy, caplog, at, verb):
    """It goes on in tiles where whole frames do not fit, which changes the picture."""
    with exhausted(comfy, at, times=1), caplog.at_level(logging.WARNING):
        animate(comfy, f"tiles_{at}")
    (told,) = [record.getMessage() for record in caplog.records if "too little memory" in record.getMessage()]
    assert f"the VAE has too little memory for whole frames, and ComfyUI {verb} them in tiles: there may be" in told
    caplog.clear()
    animate(comfy, f"no_tiles_{at}")
    assert not [record for record in caplog.records if "too little memory" in record.getMessage()]


def test_the_host_tells_the_user_and_unloads_its_models(server):
    """... and the next start, on the same server, goes on."""
    server.add_image("reference.png", reference_image())
    server.add_video("pose.mov", moving_pattern(TOTAL))
    prompt, since = animate_prompt("full_server"), server.log_size()
    prompt["full"] = {"class_type": "TestFullCard", "inputs": {"vae": ["vae", 0], "chunk": 1}}
    prompt["animate"]["inputs"]["vae"] = ["full", 0]
    with pytest.raises(RunError, match=r"Animate Long Video: out of GPU memory while decoding latents in chunk 1"):
        server.run(prompt)
    assert "Got an OOM, unloading all loaded models" in server.log(since)
    folder = server.output / "everanimate" / "full_server"
    assert len(takes(folder)[-1].chunks) == 1
    assert list(folder.parent.glob("full_server*.mp4"))
    server.run(animate_prompt("full_server"))
    assert len(takes(folder)[-1].chunks) == 3
