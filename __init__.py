"""EverAnimate for ComfyUI: long human animation on Wan2.2-Animate that does not drift."""

WEB_DIRECTORY = "./nodes/web"

# ComfyUI loads this folder as a package; test collectors import the file on its own, without a package.
if __package__:
    from .nodes import comfy_entrypoint

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
