"""Tests in a real browser on a real ComfyUI.

They run in ComfyUI's interpreter, with playwright installed in it and a Chromium on the machine (Debian's):

    COMFYUI_PATH=/path/to/ComfyUI /path/to/its/python -m pytest tests/browser

Without one of the three the folder is one skipped test. `tests/benchmarks/pictures_of_graphs.py` takes the pictures of
README and help pages.
"""

import json
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
# For the modules that tests share: pytest's importlib mode does not find them.
sys.path += [str(HERE), str(HERE.parent / "host")]


def start(base, previews):
    """ComfyUI with this pack alone, no models."""
    from editor import PACK
    from server_process import ComfyServer

    for name in ("custom_nodes", "input", "output", "user", "temp", "models"):
        (base / name).mkdir()
    (base / "custom_nodes" / PACK).symlink_to(REPOSITORY, target_is_directory=True)
    return ComfyServer(Path(os.environ["COMFYUI_PATH"]), base, previews=previews)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """ComfyUI that shows previews."""
    server = start(tmp_path_factory.mktemp("browser"), "latent2rgb")
    yield server
    server.close()


@pytest.fixture(scope="session")
def server_without_previews(tmp_path_factory):
    """ComfyUI as it is started by default."""
    server = start(tmp_path_factory.mktemp("browser"), "none")
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def is_fault(message):
    """An error on the console, but for files that are not there (pictures of other templates, a graph's own inputs,
    what a new user has not saved yet, sizes of models on the internet) and what the server's offline policy blocks."""
    expected = ("Failed to load resource", "Content Security Policy", "Error fetching file size")
    return message.type == "error" and not any(words in message.text for words in expected)


@pytest.fixture
def settings():
    """What the user has set in the editor."""
    return {"Comfy.Locale": "en"}


@contextmanager
def opened(server, browser, settings):
    """A fresh page of the editor; `page.faults` collects what its console calls errors, from when it stands."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    for name, value in ({"Comfy.TutorialCompleted": True} | settings).items():
        context.request.post(f"{server.url}/settings/{name}", data=json.dumps(value))
    page.goto(server.url, wait_until="domcontentloaded")
    page.wait_for_function(
        "() => Boolean(window.app?.graph && window.LiteGraph?.registered_node_types.EverAnimateAnimate)",
        timeout=120_000,
    )
    # The editor itself asks for settings files that a new user does not have.
    page.wait_for_timeout(2000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: is_fault(message) and page.faults.append(message.text))
    yield page
    context.close()


@pytest.fixture
def page(server, browser, settings):
    """A fresh page of the editor."""
    with opened(server, browser, settings) as page:
        yield page


@pytest.fixture
def page_without_previews(server_without_previews, browser, settings):
    """The same of a server that shows no previews."""
    with opened(server_without_previews, browser, settings) as page:
        yield page
