"""`everanimate animate --model FOLDER`: Wan-Animate's own classes, at tiny size, as the core puts them together."""

from functools import partial

import pytest
import torch
from cli_parts import DATA, HEIGHT, WIDTH, animate, latents_of, result
from run_parts import assert_same_result
from wan_folder import save_wan

from everanimate_core.backends.diffusers_wan import DiffusersWan
from everanimate_core.backends.wan_checkpoint import load_transformer, load_vae
from everanimate_core.backends.wan_codec import WanCodec
from everanimate_core.backends.wan_encoders import ClipVision, WanFiles, encode_prompts
from everanimate_core.cli import animate as animate_module
from everanimate_core.cli.command import Command
from everanimate_core.cli.kept import Kept
from everanimate_core.cli.main import parse
from everanimate_core.everanimate import propagation
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import sigma_schedule
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.settings import Settings
from everanimate_core.media.frames import FittedFrames, fit_frames
from everanimate_core.media.reader import VideoFrames

SETTINGS = Settings(steps=2, chunk_frames=9, overlap=4, cfg=2.0)
# Chunks of the frames 0..8, 9..13, 14..18.
TOTAL = 19


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_wan(folder)
    return folder


def by_the_core(folder, prompts, negative):
    """The latents of the chunks of that animation, without the command line."""
    files = WanFiles.from_folder(folder)
    model = DiffusersWan(
        load_transformer(files.transformer, device="cpu", dtype=torch.float32),
        WanCodec(load_vae(files.vae, device="cpu")),
        encode_prompts(files, prompts, device="cpu"),
        ClipVision.from_folder(files.image_encoder, device="cpu"),
        SETTINGS.cfg,
        encode_prompts(files, [negative], device="cpu"),
    )
    with VideoFrames(DATA / "reference.jpg") as image, VideoFrames(DATA / "pose.mp4") as pose:
        chunks = propagation.animate(
            SETTINGS.plan(TOTAL),
            build_memory(fit_frames(image.read([0]), WIDTH, HEIGHT, "crop"), model.codec),
            partial(model.sample_chunk, sigmas=sigma_schedule(SETTINGS.steps)),
            model.codec,
            Drivers(pose=FittedFrames(pose, WIDTH, HEIGHT, "crop")),
            SETTINGS,
        )
        return [chunk.latents for chunk in chunks]


def test_every_chunk_has_its_prompt_and_all_the_negative_one(folder, tmp_path, command):
    (tmp_path / "prompts.txt").write_text("0: ab\n9: b\n14: ab\n", encoding="utf-8")
    out = tmp_path / "dance.mp4"
    options = ["--prompts", str(tmp_path / "prompts.txt"), "--negative-prompt", "ba", "--cfg", "2"]
    options += ["--model", str(folder), "--device", "cpu", "--frames", str(TOTAL)]
    assert command(animate(out, *options))[0] == 0
    made = latents_of(out, 3)
    for found, expected in zip(made, by_the_core(folder, ["ab", "b", "ab"], "ba"), strict=True):
        assert torch.equal(found, expected)
    # Which the prompts do make a difference to.
    assert not torch.equal(made[2], by_the_core(folder, ["ab", "b", "b"], "ba")[2])
    assert not torch.equal(made[0], by_the_core(folder, ["ab", "b", "ab"], "b")[0])


def test_with_a_kept_network_other_prompts_and_guidance_are_as_with_a_new_one(folder, tmp_path, command, monkeypatch):
    loaded, kept = [], Kept()
    load = animate_module._load
    monkeypatch.setattr(animate_module, "_load", lambda *asked: loaded.append(asked[1]) or load(*asked))
    jobs = [["--prompt", "b"], ["--prompt", "ab", "--negative-prompt", "b", "--cfg", "3"], ["--prompt", "b", "--tiled"]]
    for number, options in enumerate(jobs):
        arguments = [*options, "--model", str(folder), "--device", "cpu", "--frames", "9"]
        alone, together = (animate(tmp_path / where / f"{number}.mp4", *arguments) for where in ("alone", "together"))
        assert command(alone)[0] == 0
        animate_module.main(parse(animate_module.Options, "animate", together[1:]), Command(), kept)
        assert_same_result(*(result(tmp_path / where / f"{number}.mp4") for where in ("alone", "together")))
    # Three alone, and one for all of the others.
    assert loaded == [["b"], ["b"], ["ab"], ["b"]]
    # What was encoded for another job is not kept for ever.
    assert kept.value.texts.keys() == {"b", ""}
