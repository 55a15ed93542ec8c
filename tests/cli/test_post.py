"""`everanimate post` as far as no server is needed. tests/host/test_post.py runs it against a real one."""

import socket
import subprocess
import sys

import pytest
from cli_parts import ROOT

from everanimate_core.cli.post import EXAMPLE

TOY_WORLD = ROOT / "workflows" / "api" / "toy_world.json"


@pytest.fixture
def nobody():
    """The options for a server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield ["--server", f"http://127.0.0.1:{probe.getsockname()[1]}"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            [ROOT / "workflows" / "toy_world.json"],
            "GRAPH: must be a graph in API format (open it in the editor and choose File > Export (API)); "
            f"got the editor's own format in {ROOT / 'workflows' / 'toy_world.json'}.\n",
        ),
        (
            ["none.json"],
            "GRAPH: must be a graph in API format (workflows/api/toy_world.json); "
            "got a file that cannot be read (No such file or directory) in none.json.\n",
        ),
        ([TOY_WORLD, "seed=7"], "a change must be written NODE.INPUT=VALUE (KSampler.seed=7); got seed=7.\n"),
        (
            [TOY_WORLD, "2.seed=7", "EverAnimateAnimate.steps=many"],
            "steps of Animate Long Video (node 2) must be a number (4); got many.\n",
        ),
        (
            [TOY_WORLD, "--server", "127.0.0.1:8188"],
            "--server: must be an address that begins with http:// or https:// (http://127.0.0.1:8188); "
            "got 127.0.0.1:8188.\n",
        ),
    ],
)
def test_what_cannot_serve_is_refused_before_any_server_is_asked(command, nobody, arguments, said):
    options = [] if "--server" in arguments else nobody
    assert command(["post", *map(str, arguments), *options]) == (2, "", said)


def test_the_nodes_are_listed_a_line_each(command, nobody):
    code, said, complaints = command(["post", str(TOY_WORLD), "ImageStitch.direction=down", *nobody])
    assert (code, said) == (2, "")
    assert complaints.splitlines() == [
        "ImageStitch.direction=down must begin with the id of a node, or with the title or class of one node only; "
        "got ImageStitch, which these have:",
        "  4  Pose | animation (ImageStitch)",
        "  5  Pose | animation | truth (ImageStitch).",
    ]


# Whether a whole number may become a fraction is asked of the server.
@pytest.mark.parametrize("changes", [[], ["2.seed=7"], ["2.steps=2.5"]])
def test_a_server_that_is_not_there(command, nobody, changes):
    code, said, complaints = command(["post", str(TOY_WORLD), *changes, *nobody])
    assert (code, said) == (1, "")
    assert complaints.startswith(f"a ComfyUI must be up at {nobody[1]} (start it, or set --server); got ")
    assert complaints.count("\n") == 1


def test_without_websocket_client_the_extra_is_named():
    code = (
        "import sys; sys.modules['websocket'] = None; from everanimate_core.cli.main import main; "
        f"sys.exit(main(['post', {str(TOY_WORLD)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "everanimate: running a graph on a server needs more packages (pip install 'everanimate[cli]'); got "
    )


def test_the_help_ends_with_the_example_as_it_is(command):
    code, said, complaints = command(["post", "--help"])
    assert (code, complaints) == (0, "")
    assert said.endswith(f"\n\n{EXAMPLE}")
    compile(EXAMPLE, "example", "exec")
