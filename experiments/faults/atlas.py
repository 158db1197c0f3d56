"""Kill an atlas, or a worker of it, at random moments, and compare what is written with that of one left alone.

    python experiments/faults/atlas.py --config atlas.yaml [--kills 10] [--seed 0] [options of the atlas]

By turns the command itself is ended by SIGKILL and started again, and one of the two workers of another one is. The
tables and the page have to be those of one process that nobody has disturbed, to the byte, and both have to end by
themselves. Exit status 1 if anything else was seen. A small atlas will do: three streams, few stars, few steps.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from workers import workers_of

from stream_mapper.charts import PRODUCTS

SAID = ("a worker ended", "error", "done already", "failed")


def started(options: Sequence[str], output: Path, processes: int) -> subprocess.Popen[str]:
    """The command of an atlas."""
    given = [*options, f"--output={output}", f"--processes={processes}"]
    command = [sys.executable, "-m", "stream_mapper.atlas", *given]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def products_of(output: Path) -> dict[str, bytes]:
    """What the tables and the page of an atlas hold, by their names."""
    files = [path for name in PRODUCTS for path in [output / name, *(output / name).rglob("*")] if path.is_file()]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def done_in(output: Path) -> int:
    """Streams that are done."""
    return len(list(output.glob("streams/*/outcome.json")))


def left_alone(options: Sequence[str], output: Path, processes: int) -> float:
    """Make an atlas; the time it takes."""
    begin = time.monotonic()
    process = started(options, output, processes)
    _, said = process.communicate()
    if process.returncode not in (0, 1):
        sys.exit(f"the atlas itself fails: {said}")
    return time.monotonic() - begin


def killed(options: Sequence[str], output: Path, wait: float, of_workers: bool, rng: random.Random) -> str:
    """Make an atlas of which something is killed after a time; what was done then, and what was said."""
    process = started(options, output, 2 if of_workers else 1)
    time.sleep(wait)
    found = f"{done_in(output)} streams were done"
    if of_workers:
        while process.poll() is None and not (there := workers_of(process)):
            time.sleep(0.1)
        if process.poll() is None:
            rng.choice(there).send_signal(signal.SIGKILL)
    else:
        process.kill()
    _, said = process.communicate()
    if not of_workers:
        _, said = started(options, output, 1).communicate()
    return f"{found}; {' '.join(line for line in said.splitlines() if any(word in line for word in SAID))}"


def main() -> None:
    """Kill, compare and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked, others = parser.parse_known_args()
    options, rng, bad = ["--config", asked.config, *others], random.Random(asked.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "alone" / "atlas"
        alone = left_alone(options, first, 1)
        expected = products_of(first)
        print(f"left alone: {alone:.0f} s, {len(expected)} files", flush=True)
        for kill in range(asked.kills):
            output, of_workers = Path(folder) / f"killed_{kill}" / "atlas", kill % 2 == 1
            wait = rng.uniform(0, alone / (2 if of_workers else 1))
            said = killed(options, output, wait, of_workers, rng)
            found = products_of(output)
            same = found == expected
            bad += not same
            odd = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
            who = "a worker" if of_workers else "the command"
            print(
                f"{who} after {wait:.0f} s: {said}: {'the same bytes' if same else f'OTHER BYTES in {odd}'}", flush=True
            )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
