"""The shipped workflows on a real server, at test size, and that all ways through the pack give the same latents."""

import json

import pytest
import tiny_models
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from graphs import CHUNKS, FRAMES, OVERLAP, SIZE, STEPS, TOTAL
from kept import latents_of, takes
from safetensors.torch import save_file
from server_process import RunError
from shipped import only, read_back, with_tiny_models

RANK = 2


@pytest.fixture(scope="module")
def lora(comfy):
    """A small random LoRA under the released names, where the server looks for it."""
    generator, tensors = torch.Generator().manual_seed(3), {}
    for block in range(tiny_models.LAYERS):
        for part in "qkvo":
            name = f"blocks.{block}.self_attn.{part}.lora"
            tensors[f"{name}_A.default.weight"] = torch.randn(RANK, tiny_models.DIM, generator=generator) / 16
            tensors[f"{name}_B.default.weight"] = torch.randn(tiny_models.DIM, RANK, generator=generator)
    save_file(tensors, comfy.base / "models" / "loras" / "workflow.safetensors")
    return "workflow.safetensors"


def shipped(name, server, lora):
    """A graph at test size."""
    prompt = with_tiny_models(name, {
        "unet_name": tiny_models.MODEL_FILES[torch.float32],
        "lora_name": lora,
        "image": server.add_image("reference.png", reference_image()),
        "file": server.add_video("pose.mov", moving_pattern(TOTAL)),
        "width": SIZE, "height": SIZE, "chunk_frames": FRAMES, "overlap": OVERLAP, "steps": STEPS,
    })  # fmt: skip
    for node in prompt.values():
        if node["class_type"] == "EverAnimatePlanChunks":
            node["inputs"]["total_frames"] = TOTAL
    return prompt


@pytest.fixture(scope="module")
def chunks_run(server, lora):
    """The composable workflow, with the latents of each chunk written out."""
    prompt = shipped("chunks", server, lora)
    handed = [node_id for node_id, node in prompt.items() if node["class_type"] == "EverAnimatePropagate"]
    for index, node_id in enumerate(handed):
        inputs = {"samples": [node_id, 2], "name": f"chunks_{index}"}
        prompt[f"dump{index}"] = {"class_type": "TestDumpLatent", "inputs": inputs}
    return prompt, server.run(prompt)


@pytest.fixture(scope="module")
def animate_run(server, lora):
    """The one-node workflow."""
    prompt = shipped("animate", server, lora)
    only(prompt, "EverAnimateAnimate")["run_name"] = "whole"
    return prompt, server.run(prompt)


def test_chunks_workflow_writes_the_whole_video(server, chunks_run):
    saved = next(iter(chunks_run[1].outputs.values()))["images"][0]
    count, fps, size = read_back(server.output / saved["subfolder"] / saved["filename"])
    assert (count, fps, size) == (TOTAL, 25, (SIZE, SIZE))


def test_animate_workflow_writes_the_whole_video(server, animate_run):
    saved = next(iter(animate_run[1].outputs.values()))["images"][0]
    assert (saved["filename"], saved["subfolder"]) == ("whole_00001_.mp4", "everanimate")
    assert read_back(server.output / "everanimate" / "whole_00001_.mp4") == (TOTAL, 25, (SIZE, SIZE))


def test_animate_workflow_shows_progress_and_previews(server, animate_run):
    progress = animate_run[1].of_kind("progress")
    assert progress[-1]["value"] == progress[-1]["max"] == CHUNKS * STEPS
    assert len(animate_run[1].of_kind("preview")) >= CHUNKS * STEPS
    assert f"EverAnimate: chunk {CHUNKS}/{CHUNKS}: frames" in server.log()


def test_one_node_equals_the_composable_graph_bit_for_bit(comfy, server, chunks_run, animate_run):
    to_raw = comfy.module(PACK, "nodes.host").to_raw
    for index, kept in enumerate(latents_of(server.output / "everanimate" / "whole")):
        assert torch.equal(to_raw(kept), server.latent(f"chunks_{index}"))


def test_node_expansion_equals_the_composable_graph_bit_for_bit(server, chunks_run):
    prompt = {
        node_id: node
        for node_id, node in chunks_run[0].items()
        if int(node_id.removeprefix("dump")) < 20 and not node_id.startswith("dump")
    }
    by_class = {node["class_type"]: [node_id, 0] for node_id, node in prompt.items()}
    prompt["pose"] = {"class_type": "GetVideoComponents", "inputs": {"video": by_class["LoadVideo"]}}
    prompt["loop"] = {"class_type": "TestChunkLoop", "inputs": {
        "model": by_class["EverAnimateLoadLora"], "vae": by_class["TestTinyVae"],
        "text": by_class["TestTinyConditioning"], "clip_vision": by_class["TestTinyClipVision"],
        "pose_video": ["pose", 0], "memory": by_class["EverAnimateMemory"], "plan": by_class["EverAnimatePlanChunks"],
        "sampler": by_class["KSamplerSelect"], "sigmas": by_class["EverAnimateSigmas"], "count": CHUNKS,
    }}  # fmt: skip
    prompt["save"] = {"class_type": "SaveImage", "inputs": {"images": ["loop", 0], "filename_prefix": "loop"}}
    run = server.run(prompt)
    assert len(run.outputs["save"]["images"]) == TOTAL
    for index in range(CHUNKS):
        assert torch.equal(server.latent(f"loop_{index}"), server.latent(f"chunks_{index}"))


def test_a_second_start_keeps_everything(server, animate_run):
    files = sorted((server.output / "everanimate" / "whole" / "chunks").iterdir())
    times = [file.stat().st_mtime_ns for file in files]
    since = server.log_size()
    prompt = json.loads(json.dumps(animate_run[0]))
    # Another widget value, so that the host runs the node again; 25 is what 0 stands for here.
    only(prompt, "EverAnimateAnimate")["fps"] = 25.0
    server.run(prompt)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert server.log(since).count(", kept,") == CHUNKS


def test_cancel_keeps_finished_chunks_and_the_run_goes_on(server, animate_run):
    prompt = json.loads(json.dumps(animate_run[0]))
    only(prompt, "EverAnimateAnimate")["run_name"] = "cancelled"
    sent = []

    def cancel_in_the_second_chunk(kind, data):
        if kind == "progress" and data["value"] == STEPS + 1 and not sent:
            sent.append(server.interrupt())

    with pytest.raises(RunError) as caught:
        server.run(prompt, on_event=cancel_in_the_second_chunk)
    assert caught.value.interrupted
    folder = server.output / "everanimate" / "cancelled"
    (take,) = takes(folder)
    assert 1 <= len(take.chunks) < CHUNKS
    assert read_back(folder.with_name("cancelled_00001_.mp4"))[0] in (FRAMES, FRAMES + 5)
    server.run(prompt)
    whole = latents_of(folder.with_name("whole"))
    assert all(torch.equal(*pair) for pair in zip(latents_of(folder), whole, strict=True))


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a\\b", "CON", "dance:1", "takes", ""])
def test_run_names_cannot_leave_the_output_folder(server, animate_run, name):
    prompt = json.loads(json.dumps(animate_run[0]))
    only(prompt, "EverAnimateAnimate")["run_name"] = name
    with pytest.raises(RunError, match="Animate Long Video: run_name must be a name that every"):
        server.run(prompt)
    assert {path.name for path in (server.output / "everanimate").iterdir()} >= {"whole", "whole_00001_.mp4"}


def test_a_run_has_a_name_in_any_script_and_a_folder(server, animate_run):
    prompt = json.loads(json.dumps(animate_run[0]))
    only(prompt, "EverAnimateAnimate")["run_name"] = "clips/舞蹈 (2)"
    run = server.run(prompt)
    shown = [saved for outputs in run.outputs.values() for saved in outputs.get("images", ())]
    assert {"filename": "舞蹈 (2)_00001_.mp4", "subfolder": "everanimate/clips", "type": "output"} in shown
    assert (server.output / "everanimate" / "clips" / "舞蹈 (2)_00001_.mp4").is_file()
    assert (server.output / "everanimate" / "clips" / "舞蹈 (2)" / "takes" / "00001.json").is_file()


CHANGES = {
    "seed": "seed was 0 and is 7",
    "steps": f"steps was {STEPS} and is 7",
    "strength": "the LoRA on the model is another one",
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_seed_or_lora_opens_a_take_unless_it_is_to_stop(server, animate_run, change):
    prompt = json.loads(json.dumps(animate_run[0]))
    run_name, told = f"changed_{change}", CHANGES[change]
    animate = only(prompt, "EverAnimateAnimate")
    animate["run_name"] = run_name
    server.run(prompt)
    if change == "strength":
        only(prompt, "EverAnimateLoadLora")["strength"] = 0.5
    else:
        animate[change] = 7
    animate["on_change"] = "stop"
    refused = rf"^EverAnimateAnimate: Animate Long Video: this run was made with other settings \(.+\); got {told}\."
    with pytest.raises(RunError, match=refused):
        server.run(prompt)
    animate["on_change"], since = "new take", server.log_size()
    server.run(prompt)
    assert f"EverAnimate: take 2 is opened: {told}" in server.log(since)
    assert [take.state for take in takes(server.output / "everanimate" / run_name)] == ["finished", "finished"]
    for number in (1, 2):
        assert read_back(server.output / "everanimate" / f"{run_name}_0000{number}_.mp4")[0] == TOTAL


def test_what_was_deleted_by_hand_is_made_again(server, animate_run):
    prompt = json.loads(json.dumps(animate_run[0]))
    only(prompt, "EverAnimateAnimate")["run_name"] = "deleted"
    server.run(prompt)
    # What it left is another state of the disk than the one that it found.
    server.run(prompt)
    since = server.log_size()
    server.run(prompt)
    assert "EverAnimate" not in server.log(since)
    video = server.output / "everanimate" / "deleted_00001_.mp4"
    video.unlink()
    server.run(prompt)
    assert read_back(video) == (TOTAL, 25, (SIZE, SIZE))
    # The take too; its chunks lie there still.
    (server.output / "everanimate" / "deleted" / "takes" / "00001.json").unlink()
    video.unlink()
    since = server.log_size()
    server.run(prompt)
    assert server.log(since).count(", kept,") == CHUNKS
    assert video.is_file()


def connect_prepared_videos(prompt):
    """Put a loaded video in the place of each that Prepare Driving Video makes; the names of the inputs."""
    (prepare,) = [node_id for node_id, node in prompt.items() if node["class_type"] == "EverAnimatePrepare"]
    (loader,) = [node_id for node_id, node in prompt.items() if node["class_type"] == "LoadVideo"]
    inputs = only(prompt, "EverAnimateAnimate")
    names = [name for name, value in inputs.items() if isinstance(value, list) and value[0] == prepare]
    inputs.update({name: [loader, 0] for name in names})
    del prompt[prepare]
    return names


@pytest.mark.parametrize("name", ["low_vram", "replace_in_video"])
def test_the_other_graphs_run_through(server, lora, name):
    prompt = shipped(name, server, lora)
    if name == "replace_in_video":
        connected = connect_prepared_videos(prompt)
        assert set(connected) == {"pose_video", "face_video", "background_video", "character_mask"}
    only(prompt, "EverAnimateAnimate")["run_name"] = name
    # Looking at a face takes most of the time of a chunk.
    saved = next(iter(server.run(prompt, timeout=600).outputs.values()))["images"][0]
    assert saved["filename"] == f"{name}_00001_.mp4"
    assert read_back(server.output / "everanimate" / f"{name}_00001_.mp4") == (TOTAL, 25, (SIZE, SIZE))
