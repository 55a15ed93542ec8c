"""SAM 3.1 with exact arithmetic: a person is a red box on a picture without other red, and its mask those pixels.

Everything around it is the host's: the nodes, MODEL, packed masks. Nothing is imported where the host has no SAM 3.
The test server imports this file too, so it needs nothing of the pack.
"""

import numpy as np
import torch


def scene(width, height, *boxes):
    """A picture [height, width, 3] with a red box (left, top, right, bottom) for each person; no two places of it are
    alike, and all values are multiples of 1/255."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    picture = np.stack([np.full(x.shape, 25), 120 * x // width, 120 * y // height], axis=-1) / np.float32(255)
    for left, top, right, bottom in boxes:
        picture[top:bottom, left:right, 0] = 1
    return picture


def red_boxes(red):
    """The boxes (left, top, right, bottom) of what is red, [H, W] bool, from left to right; side by side, not above."""
    columns = np.flatnonzero(np.diff(np.r_[0, red.any(axis=0), 0]))
    boxes = []
    for left, right in columns.reshape(-1, 2):
        rows = np.flatnonzero(red[:, left:right].any(axis=1))
        boxes.append((int(left), int(rows[0]), int(right), int(rows[-1]) + 1))
    return boxes


def patcher(network, weight=0.0):
    """A MODEL of the host around a network. weight: its only one, by which it is known."""
    import comfy.model_base
    import comfy.model_management
    import comfy.supported_models
    from comfy.model_patcher import ModelPatcher

    config = comfy.supported_models.SD15({"disable_unet_model_creation": True})
    model = comfy.model_base.BaseModel(config)
    network.weight = torch.nn.Parameter(torch.tensor([weight]), requires_grad=False)
    network.dtype = torch.float32
    model.diffusion_model = network
    cpu = torch.device("cpu")
    return ModelPatcher(model, load_device=cpu, offload_device=cpu)


def segmenter(weight=0.0):
    """SAM 3.1 that follows every red box; `seen`: frames at once, and how many outlines were known."""
    from comfy.ldm.sam3.detector import SAM3Model
    from comfy.ldm.sam3.tracker import SAM31Tracker, pack_masks

    class Tracker(SAM31Tracker):
        def __init__(self):
            torch.nn.Module.__init__(self)

    class Outlines(SAM3Model):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.tracker, self.seen = Tracker(), []

        def forward_video(self, images, initial_masks, pbar=None, text_prompts=None, **options):
            assert text_prompts
            self.seen.append((len(images), 0 if initial_masks is None else len(initial_masks)))
            red = (images[:, 0] > 0.5).numpy()
            boxes = [red_boxes(mask) for mask in red]
            count = max(map(len, boxes))
            if count == 0:
                return {"packed_masks": None, "n_frames": len(images), "scores": []}
            masks = torch.full((len(images), count, *red.shape[1:]), -1.0)
            for number, there in enumerate(boxes):
                for person, (left, top, right, bottom) in enumerate(there):
                    masks[number, person, top:bottom, left:right] = 1
            return {"packed_masks": pack_masks(masks), "n_frames": len(images), "scores": [1.0] * count}

    return patcher(Outlines(), weight)
