"""A stream for a network that works beside another one on the same GPU."""

import torch


def own_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A stream of its own on a CUDA device, behind what was begun there by now, such as the loading of weights; None
    elsewhere, for `torch.cuda.stream`, which then changes nothing."""
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream
