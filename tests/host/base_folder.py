"""A base directory for ComfyUI, as users have one."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACK = "comfyui-everanimate"  # a folder name that cannot be imported by name, as users have it


def gguf_pack():
    """The folder of city96's ComfyUI-GGUF: EVERANIMATE_GGUF names it, or the host under test has it; else None."""
    beside = Path(os.environ["COMFYUI_PATH"]) / "custom_nodes" / "ComfyUI-GGUF"
    path = Path(os.environ.get("EVERANIMATE_GGUF") or beside)
    return path.resolve() if (path / "__init__.py").is_file() else None


def make_base_folder(base):
    """Give the folder this pack, that of the tests, that for GGUF files where it is, and no models; the folder."""
    for name in ("custom_nodes", "input", "output", "user", "temp"):
        (base / name).mkdir()
    (base / "custom_nodes" / PACK).symlink_to(HERE.parents[1], target_is_directory=True)
    (base / "custom_nodes" / "everanimate-test-pack").symlink_to(HERE / "test_pack", target_is_directory=True)
    if gguf_pack():
        (base / "custom_nodes" / "ComfyUI-GGUF").symlink_to(gguf_pack(), target_is_directory=True)
    return base
