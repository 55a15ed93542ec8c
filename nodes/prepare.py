"""Driving videos from any video of a person."""

import json

import comfy.utils
import folder_paths
from comfy_api.latest import InputImpl, io

from ..everanimate_core.driving.engines.engine import Engine
from ..everanimate_core.driving.segmenting import Segmenter
from ..everanimate_core.driving.settings import Settings
from ..everanimate_core.errors import InputError, needed
from ..everanimate_core.knobs import knobs
from ..everanimate_core.runs.driving import driving_folder
from ..everanimate_core.runs.names import run_folder
from . import widgets
from .checks import check_images
from .host import check_cancel, say, shown_video
from .node import in_its_name
from .sources import frame_source, sound_of, trim_window
from .validation import widgets_checked

PoseKeypoint = io.Custom("POSE_KEYPOINT")
# From what finds most to what needs least.
ENGINES = ("auto", "sdpose", "onnx", "litert")
_KNOBS = knobs(Settings)


class EverAnimatePrepare(io.ComfyNode):
    """Pose, face, background and mask videos from a video of a person."""

    @classmethod
    def define_schema(cls):
        inputs = [
            io.Video.Input("video", tooltip="The driver: any video of a person, with or without sound."),
            io.Image.Input(
                "reference_image",
                optional=True,
                tooltip="The person who will be animated, best from head to foot; the picture for Animate Long "
                "Video. The pose is fitted to their body. Replacement needs none.",
            ),
            io.Model.Input("pose_model", optional=True, tooltip="sdpose: MODEL of sdpose_wholebody_fp16."),
            io.Vae.Input("pose_vae", optional=True, tooltip="sdpose: VAE of sdpose_wholebody_fp16."),
            io.Model.Input("detector", optional=True, tooltip="sdpose: MODEL of rt_detr_v4-x-hgnet_fp16."),
            io.Model.Input(
                "segmenter",
                optional=True,
                tooltip="Replacement: MODEL of sam3.1_multiplex_fp16. It finds the masks, whatever finds the "
                "points. Only litert finds masks without it.",
            ),
            io.Conditioning.Input(
                "segment_prompt",
                optional=True,
                tooltip='Goes with segmenter: the text "person" from CLIP Text Encode, with the CLIP of SAM 3.1.',
            ),
            PoseKeypoint.Input(
                "keypoints",
                optional=True,
                tooltip="Keypoints of every frame of the video, from any pose node. Then nobody is looked for "
                "in the video.",
            ),
            io.String.Input(
                "run_name",
                default="everanimate",
                tooltip="Name of the work: its files are in NAME.driving, in the folder everanimate of the output "
                "folder. What was found in this video under this name is used again.",
            ),
            io.Combo.Input(
                "engine",
                options=list(ENGINES),
                default=ENGINES[0],
                tooltip="What finds the person. sdpose: the networks of ComfyUI, where connected. onnx: files in "
                "models/detection. litert: small networks that need no GPU. auto: the first of these that is "
                "there.",
            ),
            *widgets.of("mode", "width", "height", "fps", "person", "person_index", among=_KNOBS),
            *widgets.of("retarget", "smoothing", "max_gap", "mask_grow", "mask_blocks", among=_KNOBS),
            *widgets.of("template_frame", among=_KNOBS),
        ]
        return io.Schema(
            node_id="EverAnimatePrepare",
            display_name="Prepare Driving Video",
            category=widgets.CATEGORY,
            description="Find the person in any video, and make what Animate Long Video is driven by: pose, face, and "
            "to replace the person also background and mask, all in step frame by frame. Everything is written to the "
            "output folder; a run that was stopped goes on where it was.",
            is_output_node=True,
            inputs=inputs + widgets.newer_than(inputs, _KNOBS),
            outputs=[
                io.Video.Output(
                    display_name="pose", tooltip="Skeletons on black, with the driver's sound, for pose_video."
                ),
                io.Video.Output(display_name="face", tooltip="The face, 512x512, for face_video."),
                io.Video.Output(
                    display_name="background",
                    tooltip="The driver without the person, for background_video. Nothing in animation mode.",
                ),
                io.Video.Output(
                    display_name="mask",
                    tooltip="White where the new person goes, for character_mask. Nothing in animation mode.",
                ),
                PoseKeypoint.Output(
                    display_name="keypoints", tooltip="The smoothed keypoints of every frame, in pixels of the driver."
                ),
                io.String.Output(
                    display_name="report", tooltip="JSON: how much of the person was found, the settings, warnings."
                ),
            ],
        )

    validate_inputs = widgets_checked(Settings, run_ending=".driving")

    @classmethod
    @in_its_name
    def execute(
        cls,
        video,
        run_name,
        engine,
        reference_image=None,
        pose_model=None,
        pose_vae=None,
        detector=None,
        segmenter=None,
        segment_prompt=None,
        keypoints=None,
        **values,
    ) -> io.NodeOutput:
        needed("cv2", "driving videos")
        # Here and below, because the pack works without OpenCV.
        from ..everanimate_core.driving.prepare import prepare

        settings = widgets.chosen(Settings, values)
        folder = run_folder(folder_paths.get_output_directory(), run_name, ".driving")
        check_images(reference_image=reference_image)
        replacing = settings.replacing
        if not settings.retargeting:
            reference_image = None
        finder, outlines = None, None
        if keypoints is None or reference_image is not None:
            finder = _engine(engine, replacing and segmenter is None, pose_model, pose_vae, detector)
        if replacing:
            outlines = _segmenter(segmenter, segment_prompt, "keypoints" if finder is None else finder.name)
        with (
            frame_source("video", video) as source,
            sound_of(video) as sound,
            driving_folder(folder, "the same graph") as check_owner,
        ):
            bar = comfy.utils.ProgressBar(2 * source.frame_count)

            def on_frames(done: int, total: int) -> None:
                bar.update_absolute(done, total)
                check_cancel()
                check_owner()

            made = prepare(
                source,
                finder,
                settings,
                folder,
                reference=reference_image,
                pose_keypoint=keypoints,
                sound=sound,
                sound_start=trim_window(video)[0],
                segmenter=outlines,
                say=say,
                progress=on_frames,
            )
        paths = (made.pose, made.face, made.background, made.mask)
        videos = [None if path is None else InputImpl.VideoFromFile(str(path)) for path in paths]
        points = json.loads(made.openpose.read_text(encoding="utf-8"))
        return io.NodeOutput(*videos, points, json.dumps(made.report), ui=shown_video(made.pose))


def _engine(name: str, masks: bool, pose_model, pose_vae, detector) -> Engine:
    """What finds the people. masks: whether it has to find masks, too. Raises InputError or ImportError, which say what
    is missing."""
    from .pose_engines import pose_engine

    return pose_engine(name, masks, pose_model, pose_vae, detector)


def _segmenter(model, prompt, finder: str) -> Segmenter | None:
    """What finds the masks; None where litert does. finder: what finds the points. Raises InputError without either."""
    from .people import SamSegmenter

    if model is not None:
        return SamSegmenter(model, prompt)
    if finder != "litert":
        rule = "must be connected in replacement mode, with segment_prompt"
        raise InputError("segmenter", rule, "or choose litert, which finds masks itself", f"none, and {finder}")
    return None
