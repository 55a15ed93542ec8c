"""Long Run on Wan-Animate 2 and SCAIL-2: equal to the chain of the host's own nodes, and as safe as any run."""

import json
import logging
from fractions import Fraction

import av
import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image, write_video
from kept import latents_of, takes
from long_runs import ANIMATE2, BASES, SCAIL2, knows_the_bases, long_run, method, run_folder, total
from native_chain import FRAMES, SIZE, chained, palette_mask
from test_animate import vae_frames as _vae_frames

pytestmark = pytest.mark.usefixtures("knows_the_bases")
__all__ = ["knows_the_bases"]
vae_frames = _vae_frames


def channel_distance(latents, first):
    """How far mean and spread of the channels of latents are from those of others, in spreads."""
    spread, mean = torch.std_mean(first, dim=(0, 2, 3, 4))
    own_spread, own_mean = torch.std_mean(latents, dim=(0, 2, 3, 4))
    return float((((own_mean - mean) / spread) ** 2 + (own_spread / spread - 1) ** 2).mean().sqrt())


@BASES
@pytest.mark.parametrize("sampler", ["euler", "lcm"])
def test_a_run_equals_the_chain_of_the_hosts_own_nodes(comfy, base, sampler):
    frames, name = total(base, 3), f"{base.name}_{sampler}_chain"
    chain = chained(comfy, base, base.footage(frames), 3, sampler)
    chosen = comfy.call("KSamplerSelect", sampler_name=sampler)[0]
    _, images, report = long_run(comfy, base, name, frames, sampler=chosen)
    kept = latents_of(run_folder(comfy, name))
    assert len(kept) == 3
    for made, native in zip(kept, chain, strict=True):
        assert torch.equal(made, native.latents)
    assert torch.equal(images, chain[2].frames[base.overlap :])
    chunks = json.loads(report)["chunks"]
    stride = FRAMES - base.overlap
    assert [(chunk["start"], chunk["stop"]) for chunk in chunks] == [
        (0, FRAMES),
        (FRAMES, FRAMES + stride),
        (FRAMES + stride, frames),
    ]


def test_masks_references_and_replacement_reach_the_node(comfy):
    frames = total(SCAIL2, 2)
    pictures = torch.cat([reference_image(SIZE), moving_pattern(1, SIZE, phase=1.1)])
    masks = {"replacement_mode": True, "reference_image_mask": palette_mask(2, SIZE)}
    driving = palette_mask(frames, SIZE // 2, ground=1.0)
    given = {**masks, "reference_image": pictures, "pose_video_mask": driving}
    chain = chained(comfy, SCAIL2, SCAIL2.footage(frames), 2, **given)
    how = method(comfy, SCAIL2, driving_mask=driving, **masks)
    long_run(comfy, SCAIL2, "scail2_masks", frames, method=how, reference_images=pictures)
    for made, native in zip(latents_of(run_folder(comfy, "scail2_masks")), chain, strict=True):
        assert torch.equal(made, native.latents)


def test_every_setting_of_a_method_reaches_the_node(comfy):
    other = comfy.conditioning(seed=5)
    view = comfy.clip_vision().encode_image(moving_pattern(1, SIZE), crop=False)
    settings = {
        "positive_pose": other,
        "clip_vision_output_pose": view,
        "pose_strength": 0.5,
        "pose_start_percent": 0.1,
        "pose_end_percent": 0.8,
        "reference_image_strength": 1.5,
    }
    frames = total(ANIMATE2, 2)
    chain = chained(comfy, ANIMATE2, ANIMATE2.footage(frames), 2, **settings)
    long_run(comfy, ANIMATE2, "animate2_settings", frames, method=method(comfy, ANIMATE2, **settings))
    for made, native in zip(latents_of(run_folder(comfy, "animate2_settings")), chain, strict=True):
        assert torch.equal(made, native.latents)


def test_vae_work_of_wan_animate_2(comfy, vae_frames):
    long_run(comfy, ANIMATE2, "animate2_counted", total(ANIMATE2, 3))
    chunk = [("encode", 1), ("encode", FRAMES), ("encode", FRAMES), ("decode", FRAMES)]
    assert vae_frames == 3 * chunk


def test_vae_work_of_scail_2(comfy, vae_frames):
    pictures = torch.cat([reference_image(SIZE), moving_pattern(1, SIZE, phase=1.1)])
    long_run(comfy, SCAIL2, "scail2_counted", total(SCAIL2, 3), reference_images=pictures)
    first = [("encode", 1), ("encode", 1), ("encode", FRAMES), ("decode", FRAMES)]
    later = [("encode", 1), ("encode", 1), ("encode", FRAMES), ("encode", 5), ("decode", FRAMES)]
    assert vae_frames == first + 2 * later


def animation_of(comfy, base, footage, references, fit="stretch", total_frames=0, continuation="pingpong", **settings):
    """What Long Run makes of its inputs. settings: of the method."""
    bases, build = comfy.module(PACK, "nodes.bases"), comfy.module(PACK, "nodes.base_animation").base_animation
    source = comfy.module(PACK, "everanimate_core.media.frames").TensorFrames
    text, chosen = comfy.conditioning(), bases.BaseSettings(chunk_frames=FRAMES, continuation=continuation)
    how = method(comfy, base, **settings)
    videos = {name: source(images) for name, images in {"driving_video": footage, **how.videos()}.items()}
    prompts = comfy.load_vae(), [text], text, chosen
    return build(how, videos, references, *prompts, SIZE, SIZE, fit, total_frames)


def test_references_do_not_add_up_from_chunk_to_chunk(comfy):
    pictures = torch.cat([reference_image(SIZE), moving_pattern(1, SIZE, phase=1.1)])
    animation = animation_of(comfy, SCAIL2, SCAIL2.footage(total(SCAIL2, 6)), pictures)
    codec = comfy.module(PACK, "nodes.host").RawCodec(comfy.load_vae())
    state = {"last_frames": moving_pattern(5, SIZE), "statistics": torch.ones(2, 16)}
    for index in (1, 5):
        request = animation.request(state, animation.chunk(index), codec)
        assert len(request.positive[0][1]["reference_latents"]) == 2
        assert len(request.negative[0][1]["reference_latents"]) == 2


@BASES
@pytest.mark.parametrize("continuation", ["pingpong", "loop", "hold", "error"])
@pytest.mark.parametrize("frames", [1, 16, 17, 18, 40, 75])
def test_every_frame_of_the_driving_video_is_seen_once_and_in_order(comfy, base, frames, continuation):
    """The driving video's frames carry their number; those that the chunks keep are all of them, or their going on."""
    length = frames if continuation == "error" else 23
    side = SIZE // 2 if base is SCAIL2 else SIZE
    numbered = (torch.arange(length) / 256).view(-1, 1, 1, 1).expand(-1, side, side, 3)
    animation = animation_of(
        comfy, base, numbered, reference_image(SIZE), total_frames=frames, continuation=continuation
    )
    animation.check()
    seen = []
    for index in range(animation.plan.chunk_count):
        chunk = animation.chunk(index).all()["driving_video"]
        assert len(chunk) == FRAMES
        seen += (256 * chunk[animation.plan.kept(index), 0, 0, 0]).int().tolist()
    there = {
        "error": lambda number: number,
        "hold": lambda number: min(number, 22),
        "loop": lambda number: number % 23,
        "pingpong": lambda number: 22 - abs(22 - number % 44),
    }
    assert seen == [there[continuation](number) for number in range(frames)]


@pytest.mark.parametrize("replacing", [False, True])
def test_what_pad_adds_to_a_mask_is_its_ground(comfy, replacing):
    driving, picture = float(replacing), float(not replacing)
    low = {
        "driving_mask": palette_mask(FRAMES, SIZE // 2, ground=driving)[:, 8:24],
        "reference_image_mask": palette_mask(1, SIZE, ground=picture)[:, 16:48],
    }
    footage = SCAIL2.footage(FRAMES)
    animation = animation_of(
        comfy, SCAIL2, footage, reference_image(SIZE), fit="pad", replacement_mode=replacing, **low
    )
    fitted = {**animation.chunk(0).all(), "reference_image_mask": animation.base.reference_image_mask}
    for name, ground, added in (("driving_mask", driving, 8), ("reference_image_mask", picture, 16)):
        mask = fitted[name]
        assert torch.equal(mask[:, added:-added], low[name])
        assert (mask[:, :added] == ground).all() and (mask[:, -added:] == ground).all()


@BASES
def test_restoration_aims_at_the_first_chunk(comfy, base):
    frames = total(base, 3)
    distances = {}
    for strength in (0.0, 1.0):
        name = f"{base.name}_restored_{strength}"
        long_run(comfy, base, name, frames, restore_strength=strength)
        made = latents_of(run_folder(comfy, name))
        free = 2 if base is SCAIL2 else 0
        distances[strength] = [channel_distance(chunk[:, :, free:], made[0]) for chunk in made]
    assert distances[0.0][0] == distances[1.0][0] == 0 or base is SCAIL2
    assert distances[1.0][1] < distances[0.0][1]
    assert distances[1.0][2] < distances[0.0][2]


@BASES
def test_a_prompt_for_each_chunk(comfy, base):
    frames, texts = total(base, 2), [comfy.conditioning(seed) for seed in (3, 4)]
    name = f"{base.name}_prompts"
    long_run(comfy, base, name, frames, positive=texts[0])
    one = latents_of(run_folder(comfy, name))
    long_run(comfy, base, name, frames, prompts=[text[0] for text in texts])
    own, other = latents_of(run_folder(comfy, name)), takes(run_folder(comfy, name))
    assert torch.equal(own[0], one[0])
    assert not torch.equal(own[1], one[1])
    # The second take has the chunk of the first whose prompt is the same.
    assert other[1].chunks[0].key == other[0].chunks[0].key


@BASES
def test_one_chunk_made_again_alone_is_held_to_the_next(comfy, base):
    frames, name = total(base, 3), f"{base.name}_redo"
    long_run(comfy, base, name, frames)
    before = latents_of(run_folder(comfy, name))
    long_run(comfy, base, name, frames, only_chunk=1, seed=9)
    after = latents_of(run_folder(comfy, name))
    held = 1 if base is ANIMATE2 else 2
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[2], before[2])
    assert not torch.equal(after[1], before[1])
    assert torch.equal(after[1][:, :, -held:], before[1][:, :, -held:])
    if base is SCAIL2:
        # The carried frames are held at the chunk's beginning as before.
        torch.testing.assert_close(after[1][:, :, :2], before[1][:, :, :2], rtol=0, atol=1e-5)


@BASES
def test_the_best_of_several_candidates_is_taken(comfy, base):
    name = f"{base.name}_candidates"
    long_run(comfy, base, name, total(base, 2), candidates=2)
    (take,) = takes(run_folder(comfy, name))
    drifts = [candidate.drift for candidate in take.chunks[1].candidates]
    assert len(set(drifts)) == 2
    assert take.chunks[1].drift == min(drifts)


@BASES
def test_a_video_is_streamed_with_its_rate_and_its_frames(comfy, base, tmp_path):
    from comfy_api.latest import InputImpl

    frames, name = total(base, 2), f"{base.name}_video"
    write_video(tmp_path / "dance.mov", base.footage(frames), fps=12)
    video = InputImpl.VideoFromFile(str(tmp_path / "dance.mov"))
    result, *_ = long_run(comfy, base, name, frames, driving_video=video)
    made = latents_of(run_folder(comfy, name))
    long_run(comfy, base, f"{name}_images", frames)
    assert all(torch.equal(*pair) for pair in zip(made, latents_of(run_folder(comfy, f"{name}_images")), strict=True))
    with av.open(result.get_stream_source()) as file:
        assert file.streams.video[0].average_rate == Fraction(12)
        assert sum(1 for _ in file.decode(video=0)) == frames


def test_a_mask_of_images_follows_the_driving_video_to_another_rate(comfy, tmp_path):
    from comfy_api.latest import InputImpl

    frames, masks = total(SCAIL2, 2), {"reference_image_mask": palette_mask(1, SIZE, ground=1.0)}
    footage, mask = SCAIL2.footage(2 * frames), palette_mask(2 * frames, SIZE // 2)
    write_video(tmp_path / "dance.mov", footage, fps=12)
    video = InputImpl.VideoFromFile(str(tmp_path / "dance.mov"))
    how = method(comfy, SCAIL2, driving_mask=mask, **masks)
    long_run(comfy, SCAIL2, "half_rate", frames, method=how, driving_video=video, fps=6.0)
    how = method(comfy, SCAIL2, driving_mask=mask[::2], **masks)
    long_run(comfy, SCAIL2, "every_other_frame", frames, method=how, driving_video=footage[::2])
    kept = [latents_of(run_folder(comfy, name)) for name in ("half_rate", "every_other_frame")]
    assert all(torch.equal(*pair) for pair in zip(*kept, strict=True))


@pytest.mark.parametrize("mask", ["images", "video"])
def test_what_is_to_be_known_of_the_driving_video_is_logged_once(comfy, tmp_path, caplog, mask):
    """... where it is shown at another rate, and images follow it."""
    from comfy_api.latest import InputImpl

    # 18 frames at 12 a second, 18 at 6: 54 at 12, 27 at 6.
    write_video(tmp_path / "slower.mov", SCAIL2.footage(36), fps=12, times=[*range(18), *range(18, 54, 2)])
    write_video(tmp_path / "mask.mov", palette_mask(27, SIZE // 2), fps=6)
    videos = {name: InputImpl.VideoFromFile(str(tmp_path / f"{name}.mov")) for name in ("slower", "mask")}
    masks = {"images": palette_mask(54, SIZE // 2), "video": videos["mask"]}
    how = method(comfy, SCAIL2, driving_mask=masks[mask], reference_image_mask=palette_mask(1, SIZE, ground=1.0))
    with caplog.at_level(logging.WARNING):
        long_run(
            comfy, SCAIL2, f"once_{mask}", 1, method=how, driving_video=videos["slower"], total_frames=FRAMES, fps=6.0
        )
    (said,) = [message for message in caplog.messages if "slower.mov" in message]
    assert said == "EverAnimate: slower.mov: its frame rate varies; it is shown at 6 a second."


def test_a_mask_that_went_through_a_file_keeps_its_colours(comfy, tmp_path):
    """Compression changes the rims of a mask only: each person keeps the class that the host reads."""
    from comfy_extras.nodes_scail import _extract_mask_to_28ch

    sources, mask = comfy.module(PACK, "nodes.sources"), palette_mask(FRAMES, 128)
    path = tmp_path / "mask.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.width = stream.height = 128
        stream.pix_fmt = "yuv420p"
        for picture in (mask * 255).byte().numpy():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    from comfy_api.latest import InputImpl

    with sources.frame_source("driving_mask", InputImpl.VideoFromFile(str(path))) as source:
        read = source.read(range(FRAMES))
    changed = (_extract_mask_to_28ch(read) - _extract_mask_to_28ch(mask)).abs()
    assert float(changed.mean()) < 0.02
    inside = read[0, 48:80, 16:48]
    assert (inside[..., 2] > 225 / 255).all()
    assert (inside[..., :2] < 30 / 255).all()
