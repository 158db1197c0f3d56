"""Kill a worker of a prediction at random moments, and compare what is written with that of one process.

    python experiments/faults/workers.py --checkpoint best.ckpt --catalogue folder [--kills 10] [--seed 0]

The prediction runs on two workers that it starts itself. After some of its parts, and up to three seconds more, one of
them is ended by SIGKILL. Every file of the result has to be that of one process, to the byte, and the command has to
end by itself. Each time it says how many parts were done when a worker was killed. Exit status 1 if anything else was
seen.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

DRAWS = 4


def started(asked: argparse.Namespace, output: Path, processes: int) -> subprocess.Popen[str]:
    """The command of a prediction."""
    given = ["--checkpoint", asked.checkpoint, "--catalogue", asked.catalogue, "--output", str(output)]
    command = [sys.executable, "-m", "stream_mapper.predict", *given, f"--draws={DRAWS}", f"--processes={processes}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that compute the parts."""
    try:
        return [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]
    except psutil.Error:
        return []


def files_of(folder: Path) -> dict[str, bytes]:
    """What the files of a result hold, by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def parts_done(output: Path) -> int:
    """Parts that are finished."""
    return len(list(output.with_name(f".{output.name}.parts").glob(".done/**/*.json")))


def killed(asked: argparse.Namespace, output: Path, after: int, wait: float, rng: random.Random) -> tuple[str, str]:
    """Predict, and kill a worker some time after so many parts: what was done then, and what the command said."""
    process, found = started(asked, output, 2), "nobody was there"
    while process.poll() is None and (parts_done(output) < after or not workers_of(process)):
        time.sleep(0.05)
    time.sleep(wait)
    if there := workers_of(process):
        found = f"{parts_done(output)} parts were done"
        rng.choice(there).send_signal(signal.SIGKILL)
    _, said = process.communicate()
    return found, " ".join(line for line in said.splitlines() if "a worker ended" in line or "error" in line)


def main() -> None:
    """Kill, compare and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--catalogue", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, bad = random.Random(asked.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        times = {}
        for name, processes in (("one", 1), ("two", 2)):
            begin = time.monotonic()
            if started(asked, Path(folder) / name, processes).wait():
                sys.exit("the prediction itself fails")
            times[name] = time.monotonic() - begin
        expected = files_of(Path(folder) / "one")
        parts = sum(name.endswith(".parquet") for name in expected)
        bad += files_of(Path(folder) / "two") != expected
        print(f"one process {times['one']:.1f} s, two {times['two']:.1f} s, the same bytes: {not bad}", flush=True)
        for kill in range(asked.kills):
            output = Path(folder) / f"killed_{kill}"
            found, said = killed(asked, output, rng.randrange(parts), rng.uniform(0, 3), rng)
            same = output.is_dir() and files_of(output) == expected
            bad += not same
            print(f"{found} of {parts}; {'the same bytes' if same else 'OTHER BYTES'}; {said}", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
