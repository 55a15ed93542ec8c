"""Pictures as telephones, browsers and old programs write them."""

import struct
from fractions import Fraction
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image

from everanimate_core.media.reader import VideoFrames

RED, BLUE = (200, 30, 30), (30, 30, 200)
# How a picture that is upright is stored under each EXIF orientation.
STORED = {
    1: None,
    2: Image.FLIP_LEFT_RIGHT,
    3: Image.ROTATE_180,
    4: Image.FLIP_TOP_BOTTOM,
    5: Image.TRANSPOSE,
    6: Image.ROTATE_90,
    7: Image.TRANSVERSE,
    8: Image.ROTATE_270,
}


def upright():
    """64 x 96, red in the left top quadrant."""
    pixels = np.zeros((96, 64, 3), np.uint8)
    pixels[...] = BLUE
    pixels[:48, :32] = RED
    return Image.fromarray(pixels)


def quadrants(path):
    """The middle colours of the four quadrants, in reading order."""
    with VideoFrames(path) as video:
        assert (video.width, video.height) == (64, 96)
        frame = (video.read([0])[0] * 255).round().int()
    return [tuple(frame[y, x].tolist()) for y in (24, 72) for x in (16, 48)]


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("suffix", "options"), [("jpg", {"quality": 95, "subsampling": 0}), ("png", {}), ("webp", {"lossless": True})]
)
def test_pictures_are_upright_whatever_their_exif_says(tmp_path, suffix, options, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    picture = upright() if STORED[orientation] is None else upright().transpose(STORED[orientation])
    picture.save(tmp_path / f"photo.{suffix}", exif=exif, **options)
    for colour, expected in zip(quadrants(tmp_path / f"photo.{suffix}"), [RED, BLUE, BLUE, BLUE], strict=True):
        assert max(abs(a - b) for a, b in zip(colour, expected, strict=True)) <= 1


@pytest.mark.parametrize(
    ("mode", "red", "blue"),
    [("L", (81,) * 3, (49,) * 3), ("LA", (81,) * 3, (49,) * 3), ("RGBA", RED, BLUE), ("CMYK", RED, BLUE)],
)
def test_kinds_of_pixels(tmp_path, mode, red, blue):
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    upright().convert(mode).save(path, **({"quality": 95} if mode == "CMYK" else {}))
    for colour, expected in zip(quadrants(path), [red, blue, blue, blue], strict=True):
        assert max(abs(a - b) for a, b in zip(colour, expected, strict=True)) <= 1


def test_sixteen_bits(tmp_path):
    grey = np.asarray(upright())[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.png")
    for colour, expected in zip(quadrants(tmp_path / "deep.png"), [200, 30, 30, 30], strict=True):
        assert all(abs(value - expected) <= 1 for value in colour)


def test_full_range_of_a_jpeg_is_kept(tmp_path):
    for level in (0, 17, 128, 255):
        Image.new("RGB", (64, 64), (level,) * 3).save(tmp_path / "flat.jpg", quality=95)
        with VideoFrames(tmp_path / "flat.jpg") as video:
            assert (video.read([0]) * 255 - level).abs().max() <= 1


def test_a_picture_of_too_many_pixels_is_refused_by_name(tmp_path):
    # A photo of 200 megapixels, as telephones take them: its head says so, before any pixel.
    parts = [b"IHDR" + struct.pack(">IIBBBBB", 16320, 12240, 8, 2, 0, 0, 0), b"IDAT"]
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", crc32(part)) for part in parts]
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(ValueError, match=r"of fewer pixels \(make it smaller\); got photo\.png \(.*199756800"):
        VideoFrames(tmp_path / "photo.png")


def moving(path, durations, **options):
    frames = [Image.new("RGB", (64, 48), (20 + 20 * (n % 10),) * 3) for n in range(len(durations))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **options)
    return path


def numbers(video):
    return [round((float(frame.mean()) * 255 - 20) / 20) for frame in video.read(range(video.frame_count))]


def test_a_moving_webp_is_a_video(tmp_path):
    path = moving(tmp_path / "moving.webp", [40] * 10, lossless=True)
    with VideoFrames(path) as video:
        assert (video.width, video.height, video.frame_count, video.fps) == (64, 48, 10, Fraction(25))
        assert numbers(video) == list(range(10))
        assert torch.equal(video.read([7, 2]), video.read([2, 7]).flip(0))


@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_pictures_that_move_unevenly_keep_their_times(tmp_path, suffix):
    durations = [100] * 12 + [400] + [100] * 4
    path = moving(tmp_path / f"uneven.{suffix}", durations, **({"lossless": True} if suffix == "webp" else {}))
    with VideoFrames(path) as video:
        assert (video.frame_count, video.fps) == (20, Fraction(10))
        assert numbers(video) == [*range(10), 0, 1, 2, 2, 2, 2, 3, 4, 5, 6]


def test_a_damaged_moving_webp_is_refused_by_name(tmp_path):
    path = moving(tmp_path / "moving.webp", [40] * 5, lossless=True)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"must be a readable video; got moving\.webp"):
        VideoFrames(path)
