"""Let the package read thousands of inputs that are not as they should be.

    python experiments/faults/fuzz.py [--examples 10000] [--kind tables] [--keep runs/faults]

Each is right, or refused in one line, within 20 s, and leaves nothing half written (`law.py`). hypothesis chooses the
inputs (`kinds.py`); those that break the law are kept with what they ended in. Exit status 1 if there are any.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from kinds import KINDS, Use, prepare
from law import Hung, outcome, where

SHARES = {"fits of models": 0.03, "configurations, model": 0.1, "run folders": 0.1, "predictions of tables": 0.5}
"""How many inputs of the kinds that take long, if 1 is that of the others."""

NUMBERS = st.randoms(use_true_random=False)


def quietly() -> settings:
    """Settings of hypothesis for inputs that take as long as they take."""
    phases = (Phase.explicit, Phase.generate)  # to make a failure smaller takes longer than to look at it
    return settings(deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck))


def examined(use: Use, rng: Any) -> str:
    """What becomes of one input, in a folder of its own; that it broke the law is an exception."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        return outcome(lambda: use(Path(folder), rng))


def campaign(name: str, examples: int, keep: Path, start: int) -> tuple[Counter[str], float]:
    """Outcomes of a kind, those that break the law by where they do, and the longest time [s]."""
    found: Counter[str] = Counter()
    longest = [0.0]

    @seed(start)
    @settings(quietly(), max_examples=examples)
    @given(NUMBERS)
    def every(rng: Any) -> None:
        begin = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        try:
            found[outcome(lambda: KINDS[name](folder, rng))] += 1
        except (Exception, Hung) as error:
            place = where(error)
            found[place] += 1
            if found[place] == 1:
                kept = keep / f"{name}-{place}".replace("/", "_").replace(" ", "-")
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                (kept / "traceback.txt").write_text(traceback.format_exc())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        longest[0] = max(longest[0], time.monotonic() - begin)

    every()
    return found, longest[0]


def main() -> int:
    """Run every kind, or those whose names begin so."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000, help="inputs of all kinds together")
    parser.add_argument("--kind", default="", help="how the names of the kinds begin")
    parser.add_argument("--keep", type=Path, default=Path("runs/faults"), help="folder for inputs that break the law")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.disable(logging.ERROR)
    prepare()
    names = [name for name in KINDS if name.startswith(args.kind)]
    unit = args.examples / sum(SHARES.get(name, 1.0) for name in names)
    broken = total = 0
    for name in names:
        found, longest = campaign(name, round(unit * SHARES.get(name, 1.0) + 0.5), args.keep, args.seed)
        bad = {place: count for place, count in found.items() if place not in ("used", "refused")}
        broken, total = broken + sum(bad.values()), total + sum(found.values())
        counts = f"used {found['used']:5}  refused {found['refused']:5}  longest {longest:5.1f} s"
        print(f"{name:26} {counts}  {bad or ''}", flush=True)
    print(f"{total} inputs, {broken} of which broke the law")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
