"""EverAnimate: long human animation without drift (arXiv 2605.15042). Pure torch; knows nothing of ComfyUI."""

__version__ = "0.1.0"
