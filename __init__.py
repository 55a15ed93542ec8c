"""EverAnimate for ComfyUI: a person animated for minutes, chunk by chunk, with a memory against drift."""

WEB_DIRECTORY = "./nodes/web"

# ComfyUI loads this folder as a package; test collectors import the file on its own, without a package.
if __package__:
    from .nodes import comfy_entrypoint

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
