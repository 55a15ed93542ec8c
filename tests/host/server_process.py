"""ComfyUI as a server in a process of its own, and a client that speaks its HTTP and websocket protocol."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from clips import write_video
from PIL import Image
from safetensors.torch import load_file


class RunError(Exception):
    """The server refused or aborted a prompt. `interrupted` tells a Cancel from a failure."""

    def __init__(self, message, events=(), interrupted=False):
        super().__init__(message)
        self.events = list(events)
        self.interrupted = interrupted


@dataclass
class Run:
    """A finished prompt: UI outputs by node id and every websocket event as (kind, data)."""

    prompt_id: str
    outputs: dict = field(default_factory=dict)
    events: list = field(default_factory=list)

    def of_kind(self, kind):
        return [data for name, data in self.events if name == kind]


class ComfyServer:
    """Starts main.py on a free port and waits until it answers."""

    def __init__(self, comfy_path: Path, base: Path, previews="latent2rgb"):
        self.base = base
        self.input = base / "input"
        self.output = base / "output"
        self._log_path = base / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port),
                   "--base-directory", str(base), "--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}",
                   "--disable-auto-launch", "--disable-api-nodes", "--preview-method", previews]  # fmt: skip
        # Networks that the user of this machine has fetched are not the server's.
        alone = {**os.environ, "XDG_CACHE_HOME": str(base / "cache")}
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=comfy_path, env=alone, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait_until_ready(timeout=180)
        except BaseException:
            self.close()
            raise

    def _wait_until_ready(self, timeout):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI stopped while starting\n{self.log()}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise RuntimeError(f"ComfyUI did not answer within {timeout} s\n{self.log()}")

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self, since=0):
        """What the server printed, from the byte offset `since` (see log_size) on."""
        return self._log_path.read_bytes()[since:].decode(errors="replace")

    def log_size(self):
        return self._log_path.stat().st_size

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return json.load(response)

    def interrupt(self):
        """Cancel, as the editor's button does. Safe to call from `on_event`."""
        urllib.request.urlopen(urllib.request.Request(self.url + "/interrupt", data=b"{}", method="POST"), timeout=30)

    def add_image(self, name, image):
        """Puts one frame [H, W, 3] (or a batch of one) into the input folder, for LoadImage."""
        pixels = (image.reshape(image.shape[-3:]) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(self.input / name)
        return name

    def add_video(self, name, frames, fps=25):
        """Puts an IMAGE batch into the input folder, for LoadVideo. Give the name the suffix .mov."""
        write_video(self.input / name, frames, fps)
        return name

    def latent(self, name):
        """What TestDumpLatent(name) wrote."""
        return load_file(self.output / f"{name}.safetensors")["samples"]

    def run(self, prompt, timeout=120, on_event=None):
        """Queues an API-format prompt and waits for its end. `on_event(kind, data)` sees every event as it comes."""
        return asyncio.run(asyncio.wait_for(self._run(prompt, on_event or (lambda kind, data: None)), timeout))

    async def _run(self, prompt, on_event):
        client_id = uuid.uuid4().hex
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.ws_connect("/ws", params={"clientId": client_id}, max_msg_size=0) as socket_,
        ):
            request = {"prompt": prompt, "client_id": client_id}
            async with session.post("/prompt", json=request) as response:
                answer = await response.json()
            if response.status != 200:
                raise RunError(_refusal(answer))
            run = Run(answer["prompt_id"])
            await self._follow(socket_, run, on_event)
            async with session.get(f"/history/{run.prompt_id}") as response:
                history = (await response.json())[run.prompt_id]
        run.outputs = history["outputs"]
        return run

    async def _follow(self, socket_, run, on_event):
        failure = None
        async for message in socket_:
            if message.type is aiohttp.WSMsgType.BINARY:
                kind, data = "preview", message.data
            else:
                event = json.loads(message.data)
                kind, data = event["type"], event.get("data", {})
                if data.get("prompt_id", run.prompt_id) != run.prompt_id:
                    continue
            run.events.append((kind, data))
            on_event(kind, data)
            if kind == "execution_error":
                trace = "".join(data["traceback"])
                failure = RunError(f"{data['node_type']}: {data['exception_message']}\n{trace}", run.events)
            elif kind == "execution_interrupted":
                failure = RunError(f"interrupted in {data['node_type']}", run.events, interrupted=True)
            elif kind == "executing" and data["node"] is None:
                # The last word on a prompt, sent after its history is complete.
                if failure:
                    raise failure
                return
        raise RunError(f"the server closed the connection\n{self.log()[-4000:]}", run.events)


def _refusal(answer):
    lines = [f"{answer['error']['message']} {answer['error']['details']}"]
    for node_id, node in answer.get("node_errors", {}).items():
        name = f"{node['class_type']} ({node_id})"
        lines += [f"{name}: {error['message']}: {error['details']}" for error in node["errors"]]
    return "\n".join(lines)
