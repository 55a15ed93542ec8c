"""Stand-ins with exact arithmetic under the host's own nodes for people: RT-DETR and SDPose that see red boxes.

A person is a red box on a picture without other red. The detector finds the box, SDPose a standing body that fills it.
Everything around them is the host's: the nodes, MODEL, sampler, decoding of heatmaps. Nothing is imported where the
host has no such networks.
"""

import numpy as np
import torch
from driving.bodies import standing
from segmenting import patcher, red_boxes

from everanimate_core.driving.engines.engine import START, FrameByFrame
from everanimate_core.driving.engines.found import Found
from everanimate_core.driving.keypoints import POINTS

# The channels of SDPose's last features, how high its heatmaps rise, and the pixels of a cell of its latents.
FEATURES, SCORE, CELL = 640, 0.75, 8


def body_in(left, top, right, bottom):
    """The 133 points that stand-ins see in a box. Points count from the middle of a pixel, boxes from its edge."""
    return standing(tall=bottom - top, middle=(left + right - 1) / 2, crown=top - 0.5)


def edges(cells):
    """From where to where a row of cells is red, in cells: -1 for not at all, 1 for all of one, else a part."""
    covered = (cells + 1) / 2
    (there,) = np.nonzero(covered > 0.01)
    return there[0] + 1 - covered[there[0]], there[-1] + covered[there[-1]]


class PixelVae:
    """Latents are the means of cells of 8 x 8 pixels: 1 where all of a cell is red, -1 where nothing is."""

    latent_channels = 4

    def __init__(self, weight=0.0):
        self.weight = weight

    def encode(self, pictures):
        """[B, H, W, 3] in 0..1 -> [B, 4, H/8, W/8]."""
        red = (pictures[..., 0] > 0.5).float()[:, None]
        return torch.nn.functional.avg_pool2d(red * 2 - 1, CELL).expand(-1, 4, -1, -1).contiguous()


def detector(weight=0.0):
    """RT-DETR that finds every red box, the largest surest, and behind each a chair that is surer."""
    from comfy.ldm.rt_detr.rtdetr_v4 import COCO_CLASSES, RTv4

    class Boxes(RTv4):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.seen = []

        def forward(self, pictures, size):
            self.seen.append(len(pictures))
            return [self.found(picture, size) for picture in pictures]

        def found(self, picture, size):
            boxes = red_boxes((picture[0] > 0.5).numpy())
            boxes.sort(key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
            scale = torch.tensor([*size, *size]) / 640
            scores = [0.9 - 0.05 * number for number in range(len(boxes))]
            labels = [COCO_CLASSES.index("person")] * len(boxes) + [COCO_CLASSES.index("chair")] * len(boxes)
            return {
                "boxes": torch.tensor(boxes * 2, dtype=torch.float32).reshape(-1, 4) * scale,
                "labels": torch.tensor(labels, dtype=torch.long),
                "scores": torch.tensor(scores + [0.99] * len(boxes)),
            }

    return patcher(Boxes(), weight)


def pose_model(weight=0.0):
    """SDPose that sees a standing body in the red box of each picture; `seen`: how many pictures at once."""
    from comfy.ldm.modules.sdpose import HeatmapHead

    class Heatmaps(torch.nn.Module):
        """Features [B, 640, h, w] -> heatmaps [B, 133, 2h, 2w]: a peak at each point."""

        def forward(self, features):
            # The sampler has scaled them.
            return torch.from_numpy(np.stack([self.peaks(one / np.abs(one).max()) for one in features[:, 0].numpy()]))

        def peaks(self, cells):
            height, width = 2 * cells.shape[0], 2 * cells.shape[1]
            if cells.max() <= 0:
                return np.zeros((133, height, width), np.float32)
            left, right = edges(cells.max(axis=0))
            top, bottom = edges(cells.max(axis=1))
            points = body_in(left * CELL, top * CELL, right * CELL, bottom * CELL)
            # The middles of the first and the last pixel are those of the first and the last place of a heatmap.
            points = points * (np.array([width, height]) - 1) / (CELL * np.array(cells.shape[::-1]) - 1)
            y, x = np.mgrid[:height, :width]
            near = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
            return (SCORE * np.exp(-near / 8)).astype(np.float32)

    class Unet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.heatmap_head = HeatmapHead(deconv_out_channels=(), conv_out_channels=(), operations=torch.nn)
            self.heatmap_head.final_layer = Heatmaps()
            self.seen = []

        def forward(self, x, timesteps=None, context=None, transformer_options=None, **more):
            self.seen.append(len(x))
            features = x[:, :1].expand(-1, FEATURES, -1, -1)
            for patch in transformer_options["patches"]["output_block_patch"]:
                patch(features, features, transformer_options)
            return torch.zeros_like(x)

    return patcher(Unet(), weight)


def random_detector():
    """RT-DETR itself, of its only size, through the host's loader, with random weights; all it finds are people."""
    import comfy.ops
    import comfy.sd
    from comfy.ldm.rt_detr.rtdetr_v4 import RTv4

    network = RTv4(device="cpu", dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    state = _random(network)
    for name in state:
        if name.startswith("decoder.dec_score_head") and name.endswith("bias"):
            state[name] = torch.full(state[name].shape, -8.0)
            state[name][0] = 8.0
    return comfy.sd.load_diffusion_model_state_dict(state, model_options={"dtype": torch.float32})


def random_pose_model():
    """The class of SDPose's network with few layers, its own head of heatmaps, and random weights."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    network = UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=32,
        num_res_blocks=[1, 1],
        channel_mult=[1, FEATURES // 32],
        use_spatial_transformer=True,
        context_dim=1024,
        transformer_depth=[0, 0],
        transformer_depth_output=[0] * 4,
        transformer_depth_middle=0,
        num_head_channels=32,
        heatmap_head=True,
        device="cpu",
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
    network.load_state_dict(_random(network))
    return patcher(network)


def _random(network):
    """A state dict of the network with small random weights; scales and shifts are 1."""
    generator = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for name, value in network.named_parameters():
        small = 0.02 * torch.randn(value.shape, generator=generator)
        state[name] = small if value.ndim > 1 else torch.ones(value.shape)
    return state


class RedEngine(FrameByFrame):
    """An engine that sees a body in every red box, the largest first, and with `masks` an ellipse in it."""

    state, digest = START, "red"

    def __init__(self, name, masks):
        self.name, self.masks = name, masks

    def find(self, frame):
        """The people in a frame [H, W, 3]."""
        boxes = sorted(red_boxes(frame[..., 0] > 0.5), key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
        masks = [self.mask_in(frame, box) if self.masks else None for box in boxes]
        return [Found(body_in(*box), np.full(POINTS, 0.9), mask) for box, mask in zip(boxes, masks, strict=True)]

    def mask_in(self, frame, box):
        """An ellipse."""
        left, top, right, bottom = box
        y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
        across, down = (2 * x - left - right + 1) / (right - left), (2 * y - top - bottom + 1) / (bottom - top)
        return across**2 + down**2 <= 1
