"""Chunk Frames around nodes of the host: every frame of a video once and in order, and what each chunk begins with."""

import pytest
import torch
from clips import write_video
from graphs import CHUNKS, FRAMES, OVERLAP, SIZE, TOTAL
from refusals import refusal
from server_process import RunError

from everanimate_core.plan import CONTINUATIONS

NODE = "EverAnimateChunkFrames"


def numbered(count):
    """IMAGE [count, 4, 4, 3] whose frames show their number, as multiples of 1/255."""
    return (torch.arange(count).view(-1, 1, 1, 1) / 255).expand(-1, 4, 4, 3).contiguous()


def numbers(images):
    """The numbers that frames show."""
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def plan(comfy, total=TOTAL, frames=FRAMES, overlap=OVERLAP, continuation="pingpong"):
    return comfy.call(
        "EverAnimatePlanChunks",
        total_frames=total,
        chunk_frames=frames,
        overlap=overlap,
        continuation=continuation,
    )[0]


def animation(comfy, drawn, count, video, all_so_far):
    """The numbers of a whole animation whose chunks are the frames that Chunk Frames gives for them.

    all_so_far: whether `previous` is all frames before a chunk, or the finished chunk before it.
    """
    joined, chunk = None, None
    for index in range(count):
        before = joined if all_so_far else chunk
        previous = {} if before is None else {"previous": before}
        chunk, carried, offset, keep_from, keep_count = comfy.call(
            NODE, plan=drawn, chunk_index=index, video=video, **previous
        )
        assert len(chunk) == drawn.chunk_frames
        # What the chunk begins with is what the chunk before ended with.
        assert offset == (drawn.overlap if index else 0)
        assert torch.equal(carried, chunk[:offset]) if offset else carried is None
        (kept,) = comfy.call("ImageFromBatch", image=chunk, batch_index=keep_from, length=keep_count)
        (joined,) = comfy.call("EverAnimateJoinChunks", images=kept, **({} if joined is None else {"previous": joined}))
    return numbers(joined)


@pytest.mark.parametrize("all_so_far", [False, True])
@pytest.mark.parametrize("continuation", CONTINUATIONS)
@pytest.mark.parametrize(
    ("total", "frames", "overlap"), [(19, 9, 4), (18, 9, 4), (9, 9, 4), (3, 9, 1), (33, 17, 1), (25, 5, 0), (50, 17, 5)]
)
def test_every_frame_once_and_in_order(comfy, total, frames, overlap, continuation, all_so_far):
    drawn, *counts = comfy.call(
        "EverAnimatePlanChunks",
        total_frames=total,
        chunk_frames=frames,
        overlap=overlap,
        continuation=continuation,
    )
    assert animation(comfy, drawn, counts[0], numbered(total), all_so_far) == list(range(total))


@pytest.mark.parametrize(
    ("continuation", "expected"),
    [
        ("pingpong", [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6]),
        ("loop", [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4]),
        ("hold", [0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6]),
    ],
)
def test_a_video_that_is_too_short_goes_on(comfy, continuation, expected):
    drawn = plan(comfy, continuation=continuation)
    assert animation(comfy, drawn, CHUNKS, numbered(7), all_so_far=True) == expected


def test_a_video_of_a_file_is_read_by_frame_number(comfy):
    from comfy_api.latest import InputImpl

    path = comfy.base / "input" / "numbered.mov"
    write_video(path, numbered(TOTAL))
    video = InputImpl.VideoFromFile(str(path))
    assert animation(comfy, plan(comfy), CHUNKS, video, all_so_far=True) == list(range(TOTAL))


@pytest.mark.parametrize("node", ["WanAnimateToVideo", "WanAnimate2ToVideo", "WanSCAILToVideo"])
def test_the_nodes_of_the_host_begin_with_the_first_of_the_images(comfy, node):
    """They take the frames that they carry off the offset. What they encode is the frames of the chunk."""
    if node not in comfy.nodes:
        pytest.skip(f"this host has no {node}")
    overlap = 1 if node == "WanAnimate2ToVideo" else 5
    drawn = plan(comfy, total=30, frames=17, overlap=overlap)
    video = numbered(30).repeat_interleave(8, 1).repeat_interleave(8, 2)
    images, carried, offset, *_ = comfy.call(NODE, plan=drawn, chunk_index=1, video=video, previous=video[:17])
    before = "previous_frames" if node == "WanSCAILToVideo" else "continue_motion"
    text, encoded = comfy.conditioning(), []

    class SeenVae:
        def encode(self, frames):
            encoded.append(frames)
            return comfy.load_vae().encode(frames)

    common = {"positive": text, "negative": text, "vae": SeenVae(), "width": 64, "height": 64, "length": 17}
    comfy.call(node, pose_video=images, video_frame_offset=offset, **common, **{before: carried})
    assert numbers(images) in [numbers(frames) for frames in encoded]
    assert numbers(carried) == list(range(17 - overlap, 17))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"chunk_index": 3}, "chunk_index must be between 0 and 2 (3 chunks make 19 frames); got 3."),
        ({"previous": 9}, "previous must not be connected for chunk 0 (no frames come before it); got 9 frames."),
        (
            {"chunk_index": 1},
            "previous must have at least as many frames as overlap (4 for chunk 1, of the chunk before or of all so "
            "far); got none.",
        ),
        (
            {"chunk_index": 2, "previous": 3},
            "previous must have at least as many frames as overlap (4 for chunk 2, of the chunk before or of all so "
            "far); got 3.",
        ),
        ({"video": 0}, "video must have at least 1 frame; got 0."),
    ],
)
def test_what_is_refused(comfy, inputs, message):
    given = {name: numbered(value) if name != "chunk_index" else value for name, value in inputs.items()}
    refused = refusal(comfy.call, NODE, **{"plan": plan(comfy), "video": numbered(TOTAL)} | given)
    assert refused == f"Chunk Frames: {message}"


def test_a_short_video_is_refused_where_it_must_not_go_on(comfy):
    drawn = plan(comfy, continuation="error")
    assert refusal(comfy.call, NODE, plan=drawn, video=numbered(TOTAL - 1)) == (
        "Chunk Frames: video must have at least 19 frames when continuation is 'error' "
        "(choose pingpong, loop or hold to continue a shorter one); got 18."
    )


@pytest.mark.parametrize("name", ["video", "previous"])
def test_numbers_only(comfy, name):
    inputs = {"video": numbered(TOTAL), "previous": numbered(FRAMES)}
    inputs[name][5, 1, 1, 1] = float("nan")
    assert refusal(comfy.call, NODE, plan=plan(comfy), chunk_index=1, **inputs).startswith(
        f"Chunk Frames: {name} must hold numbers only, not NaN or infinity (check what made it); got one in {name}[5]"
    )


def graph(index, **previous):
    """A graph around the host's own node for the chunk, whose carried frames go through the server's links."""
    return {
        "video": {
            "class_type": "EmptyImage",
            "inputs": {"width": SIZE, "height": SIZE, "batch_size": TOTAL, "color": 0},
        },
        "plan": {
            "class_type": "EverAnimatePlanChunks",
            "inputs": {"total_frames": TOTAL, "chunk_frames": FRAMES, "overlap": 1, "continuation": "pingpong"},
        },
        "frames": {
            "class_type": NODE,
            "inputs": {"plan": ["plan", 0], "chunk_index": index, "video": ["video", 0], **previous},
        },
        "vae": {"class_type": "TestTinyVae", "inputs": {}},
        "text": {"class_type": "TestTinyConditioning", "inputs": {"seed": 0}},
        "chunk": {
            "class_type": "WanAnimateToVideo",
            "inputs": {
                **{name: ["text", 0] for name in ("positive", "negative")},
                **{"vae": ["vae", 0], "width": SIZE, "height": SIZE, "length": FRAMES, "batch_size": 1},
                **{"pose_video": ["frames", 0], "continue_motion": ["frames", 1], "video_frame_offset": ["frames", 2]},
                "continue_motion_max_frames": 1,
            },
        },
        "dump": {"class_type": "TestDumpLatent", "inputs": {"samples": ["chunk", 2], "name": "chunk_frames"}},
    }


def test_the_server_hands_nothing_on_for_chunk_0(server):
    """`previous_frames` is None there, which the host's optional inputs take for not connected."""
    server.run(graph(0))
    server.run(graph(1, previous=["video", 0]))


def test_the_server_says_what_is_refused(server):
    with pytest.raises(RunError, match=r"Chunk Frames: previous must have .+; got none\."):
        server.run(graph(1))
