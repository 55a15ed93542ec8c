"""A base directory for ComfyUI, as users have one."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
PACK = "comfyui-everanimate"  # a folder name that cannot be imported by name, as users have it


def make_base_folder(base):
    """Give the folder this pack, that of the tests, and no models; the folder."""
    for name in ("custom_nodes", "input", "output", "user", "temp"):
        (base / name).mkdir()
    (base / "custom_nodes" / PACK).symlink_to(HERE.parents[1], target_is_directory=True)
    (base / "custom_nodes" / "everanimate-test-pack").symlink_to(HERE / "test_pack", target_is_directory=True)
    return base
