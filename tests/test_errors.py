"""The nodes, and what is under them, import without the packages that only some of the work needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The pack's own list but for safetensors and av, which every host has, and the extras.
BLOCKED = ("cv2", "peft", "einops", "skimage", "torchmetrics", "matplotlib", "diffusers", "transformers", "accelerate")
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def without_packages(code):
    """What a Python without these packages does with `code`, in the repository's folder."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )


def imported_by_the_nodes():
    """The modules of the core that nodes import at their top."""
    found = set()
    for path in (ROOT / "nodes").glob("*.py"):
        lines = re.findall(r"^from \.\.(everanimate_core\S*) import", path.read_text(encoding="utf-8"), re.MULTILINE)
        found |= set(lines)
    return sorted(found)


def test_what_nodes_import_needs_none_of_them():
    modules = imported_by_the_nodes()
    assert {"everanimate_core.runs.run", "everanimate_core.toy.network.vae"} <= set(modules)
    done = without_packages("".join(f"import {module}\n" for module in [*modules, "everanimate_core.cli.main"]))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import torch\nfrom everanimate_core.everanimate.perturbation import Clahe, Perturbation, apply\n"
            "apply(Perturbation(clahe=Clahe(4.0, 2)), torch.rand(1, 16, 16, 3))",
            "Perturbation: the package opencv-python is needed (pip install opencv-python); got No module named 'cv2'.",
        ),
        (
            "from everanimate_core.errors import needed\nneeded('peft', 'train')",
            "train: the package peft is needed (pip install peft); got No module named 'peft'.",
        ),
        ("import everanimate_core.evaluation.evaluate", "pip install scikit-image torchmetrics matplotlib"),
    ],
)
def test_what_is_missing_is_named_when_it_is_used(code, message):
    done = without_packages(code)
    assert done.returncode == 1
    assert message in done.stderr
