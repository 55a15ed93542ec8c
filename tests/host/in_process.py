"""ComfyUI inside the test process: its node registry, and a way to run one node as its executor would."""

import asyncio
import importlib
import logging
import sys
from pathlib import Path

import tiny_models


class _Records(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


class InProcessHost:
    """Boots the host on the CPU with `base` as its base directory; node packs are found in `base`/custom_nodes."""

    def __init__(self, base: Path):
        from comfy.cli_args import args

        # Both are read while the host's modules are imported.
        args.cpu = True
        args.base_directory = str(base)
        # The host's own order: nodes.py puts a folder with another `utils` on sys.path.
        importlib.import_module("utils.extra_config")
        import server

        import nodes

        self.base = base
        self.nodes = nodes.NODE_CLASS_MAPPINGS
        self._cache = {}
        server.PromptServer(asyncio.new_event_loop())
        records = _Records()
        logging.getLogger().addHandler(records)
        asyncio.run(nodes.init_extra_nodes(init_api_nodes=False))
        logging.getLogger().removeHandler(records)
        self.startup_warnings = "\n".join(records.lines)

    def call(self, node_id, **inputs):
        """Runs one node through the host's executor and returns its outputs as a tuple. Widgets that are not named keep
        their defaults, as in the editor."""
        import execution
        import torch

        if node_id not in self.nodes:
            raise KeyError(f"the host has no node {node_id}\n{self.startup_warnings}")
        node = self.nodes[node_id]
        values = self._with_defaults(node, inputs)
        data, _, hidden = execution.get_input_data(values, node, "1")
        with torch.inference_mode():
            # The last argument goes by position: its name differs between host versions.
            outputs, _, expands, pending = asyncio.run(
                execution.get_output_data("test", "1", node(), data, None, None, hidden)
            )
        assert not expands and not pending, f"{node_id} needs the whole executor: run it on the server"
        is_list = getattr(node, "OUTPUT_IS_LIST", None) or [False] * len(outputs)
        return tuple(value if keep else value[0] for value, keep in zip(outputs, is_list, strict=True))

    def _with_defaults(self, node, inputs):
        types = node.INPUT_TYPES()
        required, optional = types.get("required", {}), types.get("optional", {})
        unknown = set(inputs) - set(required) - set(optional)
        if unknown:
            raise TypeError(f"{node.__name__} has no input {sorted(unknown)}")
        values = {}
        for name, declaration in {**required, **optional}.items():
            kind, options = (*declaration, {})[:2]
            choices = kind if isinstance(kind, list) else options.get("options")
            if "default" in options:
                values[name] = options["default"]
            elif choices and name in required:
                values[name] = choices[0]
        values.update(inputs)
        missing = set(required) - set(values)
        if missing:
            raise TypeError(f"{node.__name__} needs {sorted(missing)}")
        return values

    def module(self, pack, name):
        """A module of a loaded pack, for example module("comfyui-everanimate", "nodes.host"). The host names a pack
        after its path, so an import by its plain name would be a second copy."""
        init = str(self.base / "custom_nodes" / pack / "__init__.py")
        package = next(key for key, module in list(sys.modules.items()) if getattr(module, "__file__", None) == init)
        return importlib.import_module(f"{package}.{name}")

    def load_model(self, dtype=None):
        """The tiny Wan2.2-Animate MODEL through the stock loader (float32 unless asked otherwise), one per session."""
        import torch

        name = tiny_models.MODEL_FILES[dtype or torch.float32]
        return self._once(name, lambda: self.call("UNETLoader", unet_name=name)[0])

    def load_base(self, base):
        """The tiny MODEL of Wan-Animate 2 or SCAIL-2, "animate2" or "scail2", one per session."""
        name = tiny_models.BASE_FILES[base]
        return self._once(name, lambda: self.call("UNETLoader", unet_name=name)[0])

    def load_vae(self):
        """The tiny Wan 2.1 VAE, one per session."""
        return self._once("vae", tiny_models.load_vae)

    def clip_vision(self):
        """The tiny CLIP_VISION model, one per session."""
        return self._once("clip_vision", lambda: tiny_models.clip_vision(self.base / "temp"))

    def conditioning(self, seed=0):
        """CONDITIONING as from a text encoder."""
        return tiny_models.conditioning(seed)

    def _once(self, key, build):
        import torch

        if key not in self._cache:
            with torch.inference_mode():
                self._cache[key] = build()
        return self._cache[key]
