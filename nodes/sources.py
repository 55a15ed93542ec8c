"""IMAGE, MASK, VIDEO and AUDIO inputs of nodes, as the core reads them: frame by frame, and with their sound."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from io import BytesIO

from comfy_api.latest import Input, InputImpl

from ..everanimate_core.errors import InputError, check_finite
from ..everanimate_core.everanimate.drivers import Drivers
from ..everanimate_core.media.frames import ResampledFrames, TensorFrames
from ..everanimate_core.media.rates import file_rate
from ..everanimate_core.media.reader import telling_video
from ..everanimate_core.media.sound import FileSound, SampledSound, Sound
from ..everanimate_core.ports import FrameSource
from .host import say


@contextmanager
def frame_source(
    name: str,
    video,
    fps: Fraction | None = None,
    images_fps: Fraction | None = None,
    tell: Callable[[str], None] = say,
) -> Iterator[FrameSource | None]:
    """An IMAGE, MASK or VIDEO input, read by frame number; a VIDEO from a file is streamed, and closed at the end.

    None stays None. fps: the rate at which to show a VIDEO, None for its own. images_fps: that of the VIDEO from which
    images were made, so that they are shown at `fps` with it; None: images go frame by frame. tell: called with what is
    to be known of a file, a line each; it goes into the log by itself. Raises InputError for an input without frames.
    """
    if video is None:
        yield None
        return
    with ExitStack() as files:
        if isinstance(video, InputImpl.VideoFromFile):
            source = files.enter_context(telling_video(tell, stream_source(video), fps, *trim_window(video)))
        elif isinstance(video, Input.Video):
            components = video.get_components()
            check_finite(name, components.images)
            source = TensorFrames(components.images, file_rate(components.frame_rate))
            if fps is not None:
                source = ResampledFrames(source, fps)
        else:
            images = video[..., None].expand(-1, -1, -1, 3) if video.ndim == 3 else video
            source = TensorFrames(images, images_fps)
            if fps is not None and images_fps is not None:
                source = ResampledFrames(source, fps)
        if source.frame_count < 1:
            raise InputError(name, "must have at least 1 frame", "", "0")
        yield source


def frame_count(name: str, video) -> int | None:
    """How many frames such an input has; None where it is not connected."""
    with frame_source(name, video) as source:
        return None if source is None else source.frame_count


def frame_rate(name: str, video) -> Fraction | None:
    """The frames a second of such an input, as the core reads it; None for images. Says nothing of it: whoever shows it
    does."""
    with frame_source(name, video, tell=lambda note: None) as source:
        return None if source is None else source.fps


@contextmanager
def drivers(pose=None, face=None, background=None, mask=None, fps: Fraction | None = None) -> Iterator[Drivers]:
    """The driving inputs of a node, of their own sizes. fps: of the animation, at which a pose VIDEO is then shown."""
    with ExitStack() as files:

        def opened(name: str, video, fps: Fraction | None = None) -> FrameSource | None:
            return files.enter_context(frame_source(name, video, fps))

        yield Drivers(
            pose=opened("pose_video", pose, fps),
            face=opened("face_video", face),
            background=opened("background_video", background),
            mask=opened("character_mask", mask),
        )


@contextmanager
def sound_of(video, audio=None) -> Iterator[Sound | None]:
    """The sound that goes with a driving video: an AUDIO, else a VIDEO's, if it has any; closed at the end.

    Raises InputError for an AUDIO that holds NaN or infinity.
    """
    if audio is not None:
        check_finite("audio", audio["waveform"])
        yield _sampled(audio)
    elif isinstance(video, InputImpl.VideoFromFile):
        with FileSound(stream_source(video)) as sound:
            for note in sound.notes:
                say(note)
            yield sound
    else:
        audio = video.get_components().audio if isinstance(video, Input.Video) else None
        yield None if audio is None else _sampled(audio)


def _sampled(audio) -> SampledSound:
    """An AUDIO; the first, where there are several."""
    return SampledSound(audio["waveform"][0], int(audio["sample_rate"]))


def sound_start(video, audio=None) -> float:
    """Where the sound of `sound_of` begins, in seconds: an AUDIO at its start, a VIDEO's where what is shown begins."""
    return trim_window(video)[0] if audio is None else 0.0


def stream_source(video) -> str | BytesIO:
    """The file behind a VIDEO; one in memory is opened anew, for two readers of one stream would disturb each other."""
    source = video.get_stream_source()
    return BytesIO(source.getvalue()) if isinstance(source, BytesIO) else source


def trim_window(video) -> tuple[float, float]:
    """Start and duration in seconds (0: to the end) of the part that a VIDEO shows; older hosts cannot cut one."""
    return video.get_active_trim_window() if hasattr(video, "get_active_trim_window") else (0.0, 0.0)
