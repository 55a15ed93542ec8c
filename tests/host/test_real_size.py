"""The benchmark at real size, at a tiny one: that it runs, writes each row as it comes, and that its checks hold."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "bench_real_size.py"
# Ours and stock in bf16, the checks, and ours in fp8 on this machine and on another card.
CASES = 4


def measured(folder, *options):
    """The rows that are there after a start, and what it printed."""
    command = [sys.executable, str(BENCHMARK), "--tiny", "--out", str(folder), "--cases", str(CASES), *options]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()], run.stdout


def test_a_start_and_another_one(tmp_path):
    rows, printed = measured(tmp_path)
    cases = [row for row in rows if "case" in row]
    assert [(row["case"]["chain"], row["case"]["weights"], row["case"]["card"]) for row in cases] == [
        ("ours", "bf16", 0),
        ("stock", "bf16", 0),
        ("ours", "fp8_scaled", 0),
        ("ours", "fp8_scaled", 16),
    ]
    for row in cases:
        assert 0 < row["step_s"] < row["chunk_s"]
        assert 0 < row["outside_share"] < 1
    checks = {row["check"]: row for row in rows if "check" in row}
    names = ("memory while encoding", "memory while sampling", "memory while decoding", "in one go", "authors'")
    assert all(any(name in check for check in checks) for name in (*names, "diffusers' network"))
    # One of them needs a package that not every host has.
    assert all(row["holds"] or "not run" in row["found"] for row in checks.values()), checks
    table = (tmp_path / "table.md").read_text("utf-8")
    assert "Tiny networks, which say nothing of speed" in table
    assert table.count("\n| ours ") == 3 and table.count("\n| stock ") == 1
    assert "\n| ours | bf16 | 64x64 | 4 | no | no | whole | " in printed

    # What is measured is not measured again, and what a killed start left of a line is no row.
    with (tmp_path / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"case": {"chain": "ou')
    again, printed = measured(tmp_path)
    assert again == rows
    assert printed.count("\n| ours ") == 3 and printed.count("\n| stock ") == 1
