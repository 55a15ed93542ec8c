"""A ComfyUI in this process for the benchmark at real size, with the pack loaded, also where few packages are there.

A machine with PyTorch and without network lacks packages that the host imports and that this work does not need. They
are stood in for: what is installed is always taken first.
"""

import asyncio
import gc
import importlib
import importlib.util
import logging
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

REPOSITORY = Path(__file__).resolve().parents[2]
# Imported by the host or the pack while they start; nothing of the benchmark calls them, but PyAV.
NOT_NEEDED = {"aiohttp", "alembic", "av", "blake3", "cv2", "httpx2", "kornia", "pydantic_settings", "simpleeval"}
NOT_NEEDED |= {"spandrel", "sqlalchemy", "torchaudio", "torchvision", "yarl"}


class _AnyClass(type):
    """Of stand-in classes: whatever is asked of them is there."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"

    def __call__(cls, *arguments, **named):
        return object.__new__(cls)

    def __getitem__(cls, item):
        return cls


class StandIn(ModuleType):
    """A module in which everything is there: classes for names with a capital, modules for all others."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name[:1].isupper():
            # An instance has everything, too; an error is one.
            bases, members = (
                ((Exception,), {}) if name.endswith("Error") else ((), {"__getattr__": StandIn.__getattr__})
            )
            value = _AnyClass(name, bases, {"__name__": name, **members})
        else:
            value = StandIn(f"{self.__name__}.{name}")
        setattr(self, name, value)
        return value

    def __call__(self, *arguments, **named):
        # A decorator leaves a function as it is, and so does what a call with other arguments gives.
        return arguments[0] if len(arguments) == 1 and callable(arguments[0]) and not named else self


class StandIns:
    """Finds modules that nothing else found."""

    def find_spec(self, name, path=None, target=None):
        wanted = name.partition(".")[0] in NOT_NEEDED
        return importlib.util.spec_from_loader(name, self, is_package=True) if wanted else None

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


class Host:
    """The host: `call(node_id, **inputs)`, `device`, `cuda`, and `offloads`, by what it finds room on a card.

    arguments: of its command line.
    """

    def __init__(self, comfyui, arguments=()):
        sys.meta_path.append(StandIns())
        here = {"", str(REPOSITORY), str(REPOSITORY / "tests" / "benchmarks")}
        sys.path[:] = [str(Path(comfyui).resolve()), *(entry for entry in sys.path if entry not in here)]
        # The pack's own `nodes` must not be found before the host's.
        sys.path += [str(REPOSITORY / "tests" / "benchmarks"), str(REPOSITORY / "tests" / "host"), str(REPOSITORY)]
        import torch

        self.cuda = torch.cuda.is_available()
        sys.argv = ["main.py", *([] if self.cuda else ["--cpu"]), *arguments]
        import comfy.options

        comfy.options.enable_args_parsing()
        self.offloads = _dynamic_vram(self.cuda)
        # The host's own order: its nodes.py puts a folder with another `utils` on sys.path.
        importlib.import_module("utils.extra_config")
        import comfy.model_management
        import comfy.utils
        import folder_paths
        from comfyui_version import __version__
        from server import PromptServer

        import nodes

        PromptServer.instance = SimpleNamespace(client_id=None, send_progress_text=lambda *arguments: None)
        self.folder = Path(tempfile.mkdtemp(prefix="real_size_"))
        folder_paths.set_output_directory(str(self.folder))
        folder_paths.set_temp_directory(str(self.folder))
        comfy.utils.set_progress_bar_enabled(False)
        self.version = __version__
        self.management, self.device = comfy.model_management, comfy.model_management.get_torch_device()
        # What the nodes say of a size that they were not trained for is known here.
        logging.disable(logging.WARNING)
        wan = importlib.import_module("comfy_extras.nodes_wan")
        self.nodes = {**nodes.NODE_CLASS_MAPPINGS, "WanAnimateToVideo": wan.WanAnimateToVideo, **self._pack()}

    def _pack(self):
        """The pack's nodes by their ids."""
        name = "everanimate_pack"
        spec = importlib.util.spec_from_file_location(
            name, REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
        )
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        extension = asyncio.run(module.comfy_entrypoint())
        found = {node.define_schema().node_id: node for node in asyncio.run(extension.get_node_list())}
        for node in found.values():
            node.hidden = SimpleNamespace(unique_id="1", prompt=None, extra_pnginfo=None, dynprompt=None)
        return found

    def module(self, name):
        """A module of the pack, as "nodes.alignment"."""
        return importlib.import_module(f"everanimate_pack.{name}")

    def call(self, node_id, **inputs):
        """Run a node; widgets that are not named keep their defaults. Its outputs."""
        node = self.nodes[node_id]
        if not hasattr(node, "define_schema"):
            return getattr(node(), node.FUNCTION)(**inputs)
        for declared in node.define_schema().inputs:
            default = getattr(declared, "default", None)
            options = getattr(declared, "options", None)
            if default is None and options and not getattr(declared, "optional", False):
                default = options[0]
            if default is not None:
                inputs.setdefault(declared.id, default)
        return tuple(node.execute(**inputs).result)

    def lacks(self, package):
        """Whether a package is only stood in for."""
        return isinstance(importlib.import_module(package), StandIn)

    def out_of_memory(self, error):
        """Whether the host takes an error for one of its own about memory."""
        if hasattr(self.management, "is_oom"):
            return self.management.is_oom(error)
        return isinstance(error, self.management.OOM_EXCEPTION)

    def release(self):
        """Let go of all models on the device."""
        gc.collect()
        self.management.unload_all_models()
        self.management.soft_empty_cache()


def _dynamic_vram(cuda):
    """Start what newer hosts start in their main.py, by which weights come to a card as they are needed; in words."""
    import comfy.cli_args as cli

    if not (cuda and hasattr(cli, "enables_dynamic_vram") and cli.enables_dynamic_vram()):
        return "by estimates of what is needed"
    try:
        import comfy_aimdo.control as control

        reserved = cli.args.reserve_vram
        control.init(simple_vram_headroom=None if reserved is None else int(reserved * 1024**3))
        import comfy.memory_management
        import comfy.model_management
        import comfy.model_patcher

        headroom = int(cli.args.vram_headroom * 1024**3)
        if not control.init_devices((d.index, headroom) for d in comfy.model_management.get_all_torch_devices()):
            return "by estimates, for its dynamic VRAM does not work here"
    except (ImportError, AttributeError, TypeError, OSError, RuntimeError) as error:
        # A benchmark that measures the host's other way is worth more than none.
        return f"by estimates, for its dynamic VRAM does not start ({type(error).__name__}: {error})"
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True
    return "by dynamic VRAM"
