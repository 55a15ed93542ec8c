"""What a run has left on disk."""

from safetensors.torch import load_file

from everanimate_core.runs.store import RunStore


def takes(folder):
    """All takes of the run in a folder."""
    store = RunStore(folder)
    return [store.read_take(number) for number in store.take_numbers()]


def chunk_files(folder):
    """The files with the latents of the newest take, in order."""
    store = RunStore(folder)
    return [store.chunk_file(store.read_record(chunk.key)) for chunk in takes(folder)[-1].chunks]


def latents_of(folder):
    """The latents of the newest take's chunks."""
    return [load_file(path)["latents"] for path in chunk_files(folder)]
