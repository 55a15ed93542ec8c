"""EverAnimate: long human animation with a memory against drift (arXiv 2605.15042). Knows nothing of ComfyUI."""

__version__ = "0.2.0"
