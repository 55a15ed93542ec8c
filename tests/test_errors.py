"""What errors say; and that the nodes, and what is under them, import without what only some of the work needs."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from refusals import refusal

from everanimate_core.errors import InputError, check_finite, check_number, one_line
from everanimate_core.lora.names import LoraError
from everanimate_core.media.open import VideoError

NAN, INFINITY = float("nan"), float("inf")
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


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("fps", "must be above 0", "25", -1), "fps must be above 0 (25); got -1."),
        (InputError("fps", "must be above 0", "", -1), "fps must be above 0; got -1."),
        (InputError("", "a LoRA holds pairs", 0, "none"), "a LoRA holds pairs (0); got none."),
        (VideoError("the file", "must be a video", "", "a.txt"), "the file must be a video; got a.txt."),
        (LoraError("alpha is one number", "32", "a\nb"), r"alpha is one number (32); got a\nb."),
    ],
)
def test_an_error_says_its_four_parts(error, message):
    assert str(error) == message
    assert message == f"{error.field} {error.said}".strip()
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and isinstance(again, ValueError)
    assert vars(again) == vars(error) and str(again) == message


@pytest.mark.parametrize(
    ("text", "longest", "line"),
    [("abc", None, "abc"), ("abc", 3, "abc"), ("abcd", 3, "abc..."), ("a\nb", 4, r"a\nb"), ("a\nbc", 4, r"a\nb...")],
)
def test_a_line_is_cut_where_it_is_longer_than_allowed(text, longest, line):
    assert one_line(text, longest) == line


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_a_setting_that_is_no_number(value):
    assert refusal(check_number, "cfg", value, "1.0") == (
        f"cfg must be a number, not NaN or infinity (1.0); got {value}."
    )


@pytest.mark.parametrize("value", [0, 1, -3.5, 1e308, 5e-324])
def test_every_number_is_one(value):
    check_number("cfg", value, "1.0")


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (2, 3, 4, 2), (1, 0, 4, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_value_that_is_no_number(value, place, dtype):
    frames = torch.zeros(3, 4, 5, 3, dtype=dtype)
    check_finite("reference_images", frames)
    frames[place] = value
    assert refusal(check_finite, "reference_images", frames) == (
        "reference_images must hold numbers only, not NaN or infinity (check what made it); got one in "
        f"reference_images[{place[0]}] of 3."
    )


@pytest.mark.parametrize("values", [torch.zeros(0, 4, 4, 3), torch.zeros(2, 0), torch.ones(2, dtype=torch.uint8)])
def test_nothing_and_whole_numbers_are_fine(values):
    check_finite("reference_images", values)


def without_packages(code):
    """What a Python without these packages does with `code`, in the repository's folder."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )


def imported_by_the_nodes():
    """The modules of the core that nodes import at their top; files of nodes that are imported at work are left out."""
    found, files, waiting = set(), set(), ["__init__"]
    while waiting:
        file = waiting.pop()
        files.add(file)
        text = (ROOT / "nodes" / f"{file}.py").read_text(encoding="utf-8")
        found |= set(re.findall(r"^from \.\.(everanimate_core\S*) import", text, re.MULTILINE))
        beside = set(re.findall(r"^from \.(\w+) import", text, re.MULTILINE))
        # `from . import module, another`.
        for line in re.findall(r"^from \. import (.*)$", text, re.MULTILINE):
            beside |= set(line.split(", "))
        waiting += beside - files
    return sorted(found)


def test_what_nodes_import_needs_none_of_them():
    modules = imported_by_the_nodes()
    assert {"everanimate_core.runs.run", "everanimate_core.toy.network.vae"} <= set(modules)
    assert "everanimate_core.longanimation.control" in modules and "everanimate_core.driving.prepare" not in modules
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
            "from everanimate_core.errors import needed\nneeded('peft', 'training')",
            "training: the package peft is needed (pip install peft); got No module named 'peft'.",
        ),
        ("import everanimate_core.evaluation.evaluate", "pip install scikit-image torchmetrics matplotlib"),
    ],
)
def test_what_is_missing_is_named_when_it_is_used(code, message):
    done = without_packages(code)
    assert done.returncode == 1
    assert message in done.stderr
