"""The progress bar: in a terminal it shows chunks and steps, and leaves nothing; behind a pipe there is none."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from cli_parts import CHUNKS, ROOT, animate, result
from run_parts import assert_same_result, posix_only

pty, termios = (pytest.importorskip(name, reason="needs terminals of POSIX") for name in ("pty", "termios"))
pytestmark = posix_only
COLUMNS = 80
BAR = re.compile(
    r"chunk (\d+)/(\d+)(?:, candidate \d+/\d+)?(?:, step (\d+)/(\d+))? +(\d+)% \|[█▏▎▍▌▋▊▉ ]{12}\| "
    r"\d\d:\d\d, (\?|\d\d:\d\d) left"
)


def parts_of(handle):
    """What is written to a terminal, until nobody has it open; closes it then."""
    # Linux calls the end an error.
    with suppress(OSError):
        while part := os.read(handle, 4096):
            yield part.decode(errors="replace")
    os.close(handle)


class Terminal:
    """The command in a terminal of its own, which is 80 columns wide."""

    def __init__(self, arguments):
        self.written = ""
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            termios.tcsetwinsize(0, (24, COLUMNS))
            # Where the tests run in the background of a shell, Ctrl-C is ignored, and by their children too.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(sys.executable, [sys.executable, "-m", "everanimate_core", *arguments])

    def read(self, until=None):
        """Go on to where `until` was written; without it to the end, for the exit code."""
        for part in parts_of(self.handle):
            self.written += part
            if until is not None and until in self.written:
                return None
        assert until is None, self.written
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def press(self, keys):
        os.write(self.handle, keys)

    def bars(self):
        """(chunk, step, per cent) of each bar that was drawn, without repetitions."""
        drawn = [(int(one[1]), int(one[3] or 0), int(one[5])) for one in BAR.finditer(self.written)]
        return [one for one, before in zip(drawn, [None, *drawn], strict=False) if one != before]

    def screen(self):
        """The lines that are seen at the end."""
        lines, column = [[]], 0
        for sign in self.written:
            if sign == "\r":
                column = 0
            elif sign == "\n":
                lines.append([])
            else:
                if column == COLUMNS:
                    lines.append([])
                    column = 0
                lines[-1][column : column + 1] = sign
                column += 1
        return ["".join(line).rstrip() for line in lines]


def timeless(lines):
    """Lines of chunks without the seconds, which differ from run to run."""
    return [re.sub(r"\d+\.\d s|about .+ left", "", line) for line in lines]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A run in a terminal from start to end, as (its terminal, its video)."""
    out = tmp_path_factory.mktemp("shown") / "dance.mp4"
    terminal = Terminal(animate(out))
    assert terminal.read() == 0
    return terminal, out


def test_in_a_terminal_there_are_chunks_and_steps(shown, uninterrupted):
    terminal, out = shown
    per_cent = [0, 8, 17, 25, 33, 42, 50, 58, 67, 75, 83, 92, 100]
    expected = [(1, 0, 0)]
    for chunk in range(1, CHUNKS + 1):
        expected += [(chunk, step, per_cent[2 * (chunk - 1) + step]) for step in (1, 2)]
        expected.append((min(chunk + 1, CHUNKS), 0, per_cent[2 * chunk]))
    assert terminal.bars() == expected
    assert_same_result(result(out), result(uninterrupted[0]))


def test_candidates_are_parts_of_their_chunk(tmp_path):
    terminal = Terminal([*animate(tmp_path / "dance.mp4"), "--candidates", "2"])
    assert terminal.read() == 0
    # Four steps a chunk: two candidates of two steps.
    expected = [(1, 0, 0)]
    for chunk in range(1, CHUNKS + 1):
        places = [4 * (chunk - 1) + step for step in (1, 2, 3, 4)]
        expected += [
            (chunk, step, round(100 * place / (4 * CHUNKS))) for step, place in zip((1, 2, 1, 2), places, strict=True)
        ]
        expected.append((min(chunk + 1, CHUNKS), 0, round(100 * chunk / CHUNKS)))
    assert terminal.bars() == expected
    assert {"chunk 3/6, candidate 1/2, step 2/2", "chunk 3/6, candidate 2/2, step 1/2"} <= set(
        re.findall(r"chunk \d/\d, candidate \d/\d, step \d/\d", terminal.written)
    )


@pytest.mark.parametrize("pipe", ["stdout", "stderr"])
def test_where_one_of_the_two_is_no_terminal_there_are_lines_alone(shown, tmp_path, pipe):
    terminal, out = shown
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "everanimate_core", *animate(tmp_path / "dance.mp4")]
    streams = {"stdout": theirs, "stderr": theirs, pipe: subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **streams) as process:
        os.close(theirs)
        written = "".join(parts_of(mine)).replace("\r\n", "\n")
        piped = getattr(process, pipe).read().decode()
    said, complaints = (piped, written) if pipe == "stdout" else (written, piped)
    assert (process.returncode, complaints, "\r" in said) == (0, "", False)
    *chunks, wrote = said.splitlines()
    assert (len(chunks), wrote) == (CHUNKS, f"Wrote {tmp_path / 'dance.mp4'}")
    # The same lines are all that stays in a terminal. The last one may be longer than it is wide.
    seen = terminal.screen()
    assert timeless(seen[:CHUNKS]) == timeless(chunks)
    assert "".join(seen[CHUNKS:]) == f"Wrote {out}"


def test_ctrl_c_leaves_no_bar_and_the_next_start_counts_what_it_makes(tmp_path):
    out = tmp_path / "dance.mp4"
    terminal = Terminal(animate(out))
    # A terminal throws away at Ctrl-C what nobody has read yet: the line before must be complete.
    terminal.read("chunk 3/6, step 1/2")
    terminal.press(b"\x03")
    assert terminal.read() == 1
    seen = terminal.screen()
    done = sum(line.startswith("chunk") for line in seen)
    assert 2 <= done < CHUNKS
    assert not [line for line in seen if BAR.search(line) or "%" in line or "█" in line]
    assert "".join(seen[done:]).startswith("Stopped; finished chunks are kept. Go on with: everanimate animate ")

    terminal = Terminal(animate(out))
    assert terminal.read() == 0
    bars = [BAR.search(line) for line in re.split("[\r\n]", terminal.written)]
    kept = [bar for bar in bars if bar and not bar[3] and int(bar[1]) <= done + 1]
    # As long as nothing was made, nobody knows what is left.
    assert {(int(bar[1]), bar[6]) for bar in kept} == {(chunk, "?") for chunk in range(1, done + 2)}
    assert terminal.bars()[: done + 2] == [
        *((chunk + 1, 0, round(100 * chunk / CHUNKS)) for chunk in range(done + 1)),
        (done + 1, 1, round(100 * (done + 0.5) / CHUNKS)),
    ]
    assert all(bar[6] != "?" for bar in bars if bar and bar[3])
