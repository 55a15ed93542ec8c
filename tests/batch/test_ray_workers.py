"""A batch on Ray itself: real processes, killed as they are killed.

EVERANIMATE_BATCH_FULL=1 runs the whole proof too: ten jobs, three workers, a worker and the driver killed.
"""

import os
import signal
import time

import pytest
from batch_parts import attempts, rows, single, toy, write_jobs
from cli_parts import finish, result, start
from ray_cluster import cluster, needs_ray
from run_parts import assert_same_result, posix_only

from everanimate_core.cli import main as cli

pytestmark = [needs_ray, posix_only]
FULL = os.environ.get("EVERANIMATE_BATCH_FULL")


@pytest.fixture(scope="module")
def two():
    """The address of a cluster with room for two workers."""
    with cluster(2) as address:
        yield address


def batch(jobs, root, address):
    """The arguments of a batch on CPUs."""
    return ["batch", str(jobs), "--out", str(root), "--address", address, "--gpus-per-job", "0"]


def status(root, capsys):
    """The exit code of `batch status`, and its table."""
    capsys.readouterr()
    code = cli.main(["batch", "status", str(root)])
    return code, rows(capsys.readouterr().out)


def until(condition, process=None, seconds=300):
    """Wait for something that is about to happen, while a process lives."""
    for _ in range(20 * seconds):
        if condition():
            return
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("it did not happen")


def workers(root, lines):
    """The processes that began a job of these lines."""
    return {process for line in lines for process, _, _ in attempts(root, line["name"])}


def wait_for_workers(count, root, lines, process):
    """Wait until so many workers have begun a job. The first pause meanwhile: Ray may take long to start the last."""
    paused = set()

    def all_there():
        for worker in workers(root, lines) - paused:
            os.kill(worker, signal.SIGSTOP)
            paused.add(worker)
        return len(paused) == count

    try:
        until(all_there, process)
    finally:
        for worker in paused:
            os.kill(worker, signal.SIGCONT)


def same_as_single(lines, root, elsewhere):
    """Whether each of these jobs made just what the command alone makes."""
    for line in lines:
        out = elsewhere / f"{line['name']}.mp4"
        code, _, complaints = finish(start(single(line, out)))
        assert (code, complaints) == (0, "")
        assert_same_result(result(root / out.name), result(out))


def test_three_jobs_two_workers_and_one_mistake(two, tmp_path, capsys):
    root = tmp_path / "results"
    lines = [toy("one", 32), toy("bad", 32, pose="none.mp4"), toy("two", 24, seed=5)]
    jobs = write_jobs(tmp_path / "jobs.jsonl", *lines)
    process = start(batch(jobs, root, two))
    wait_for_workers(2, root, lines, process)
    code, said, complaints = finish(process)
    error = "line 2: --pose: must be a readable video; got none.mp4 (No such file or directory)."
    assert (code, complaints) == (1, "1 of 3 jobs failed; the same command tries them again.\n")
    expected = {"one": ("finished", "6/6", ""), "bad": ("failed", "-", error), "two": ("finished", "4/4", "")}
    assert rows(said) == expected
    assert said.startswith("3 jobs, 0 of them finished already\n")
    assert status(root, capsys) == (1, expected)
    same_as_single([lines[0], lines[2]], root, tmp_path)
    assert len(workers(root, lines)) == 2

    # Only what is missing, and the error goes with its cause.
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name.startswith(("one.", "two."))}
    lines[1]["pose"] = lines[0]["pose"]
    code, said, complaints = finish(start(batch(write_jobs(jobs, *lines), root, two)))
    assert (code, complaints) == (0, "")
    assert said.startswith("3 jobs, 2 of them finished already\nbad (line 2) finished\n")
    assert status(root, capsys) == (0, {**expected, "bad": ("finished", "6/6", "")})
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.skipif(not FULL, reason="takes minutes: EVERANIMATE_BATCH_FULL=1")
def test_ten_jobs_three_workers_a_worker_and_the_driver_killed(tmp_path, capsys):
    root = tmp_path / "results"
    lines = [toy(f"dance {number}", 149 - 5 * number, seed=number) for number in range(10)]
    lines[6]["pose"] = "none.mp4"
    jobs = write_jobs(tmp_path / "jobs.jsonl", *lines)
    names, good = [line["name"] for line in lines], [line for line in lines if line["pose"] != "none.mp4"]
    chunks = {line["name"]: (line["frames"] - 4) // 5 for line in good}

    def made(name):
        return [chunk for _, made, _ in attempts(root, name) for chunk in made]

    def records():
        return {path: path.stat().st_mtime_ns for path in root.glob("*.run/chunks/[!.]*.json")}

    with cluster(3) as address:
        process = start(batch(jobs, root, address))
        try:
            # The longest three begin.
            wait_for_workers(3, root, lines, process)
            until(lambda: all(made(name) for name in names[:3]), process)
            code, found = status(root, capsys)
            assert code == 0
            assert [found[name][0] for name in names] == ["runs"] * 3 + ["waits"] * 7

            # A worker is killed in the middle of its job.
            ((worker, _, _),) = attempts(root, names[1])
            os.kill(worker, signal.SIGKILL)
            until(lambda: status(root, capsys)[1][names[1]][0] == "stopped", process)
            there = records()
            told("a worker was killed", status(root, capsys)[1])

            # The driver is killed as soon as a job is finished, in the middle of others.
            until(lambda: (root / f"{names[0]}.job.json").exists() and len(made(names[3])) > 1, process)
        finally:
            process.kill()
            process.communicate()
        # Its workers go with it.
        until(lambda: "runs" not in {state for state, _, _ in status(root, capsys)[1].values()})
        code, found = status(root, capsys)
        told("the driver was killed", found)
        stopped = [name for name, (state, _, _) in found.items() if state == "stopped"]
        assert stopped and {state for state, _, _ in found.values()} <= {"stopped", "finished", "waits", "failed"}
        for name, (state, seen, _) in found.items():
            listed = int(seen.partition("/")[0]) if seen != "-" else 0
            done = len(list((root / f"{name}.run" / "chunks").glob("[!.]*.json")))
            # A chunk may be there that no list had yet.
            assert done - listed in (0, 1)
            assert state != "finished" or listed == chunks[name] == done
        there |= records()

        code, said, complaints = finish(start(batch(jobs, root, address)))
    assert (code, complaints) == (1, "1 of 10 jobs failed; the same command tries them again.\n")
    error = "line 7: --pose: must be a readable video; got none.mp4 (No such file or directory)."
    expected = {name: ("finished", f"{count}/{count}", "") for name, count in chunks.items()}
    assert rows(said) == expected | {names[6]: ("failed", "-", error)}
    assert status(root, capsys) == (1, rows(said))
    told("the end", rows(said))

    # No chunk was made twice, and what was there at a death is as it was. The one in progress was never finished.
    for name, count in chunks.items():
        assert len(made(name)) == len(set(made(name)))
        assert len(set(made(name)) | {c for _, _, kept in attempts(root, name) for c in kept}) == count
    assert {path: path.stat().st_mtime_ns for path in there} == there
    same_as_single(good, root, tmp_path)
    with capsys.disabled():
        total = sum(chunks.values())
        print(f"\n{total} chunks in {len(good)} jobs, each made once; nine videos and runs equal single ones")


def told(when, found):
    """What the table says at a moment, for whoever runs the proof."""
    lines = [f"    {name}: {' '.join(cells).strip()}" for name, cells in found.items()]
    os.write(2, "\n".join([f"\n{when}", *lines, ""]).encode())
