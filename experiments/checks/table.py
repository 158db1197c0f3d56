"""The table of docs/checks.md: the verdict of good fits, of fields without a stream and of planted faults.

    python experiments/checks/table.py --folder runs/checks [--only WORDS] [--good 14]

Each fit leaves its judgement in the folder; started again, the command goes on where it was, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import Case, cases, fit_of

Judgement = dict[str, Any]


def judged(name: str, case: Case, folder: Path) -> Judgement:
    """The judgement of one fit, made now or found in the folder."""
    kept = folder / f"{name.replace(' ', '_').replace(',', '')}.json"
    if not kept.exists():
        found = fitted(case, kept.with_suffix(""))
        kept.write_text(json.dumps(found, indent=1))
    return json.loads(kept.read_text())


def fitted(case: Case, folder: Path) -> Judgement:
    """Fit the stars of a case, and say what its checks say."""
    start = time.process_time()
    fit = fit_of(case.config(), case.table(), folder)
    if fit.checks is None:
        raise RuntimeError(f"{folder}: the fit has no checks.")
    rows = [
        {key: row[key].item() if key in ("value", "limit") else str(row[key]) for key in row.colnames}
        for row in fit.checks
    ]
    numbers = {
        key: fit.metrics[key] for key in ("expected_members", "true_members", "average_precision") if key in fit.metrics
    }
    return {"verdict": fit.verdict, "seconds": time.process_time() - start, "checks": rows, **numbers}


def line(name: str, case: Case, found: Judgement) -> str:
    """One row of the table, in Markdown."""
    failed = sorted({check["name"] for check in found["checks"] if check["verdict"] == "fail"})
    wanted = set(case.check.split(", ")) - {""}
    right = found["verdict"] == case.verdict and (not wanted or bool(wanted & set(failed)))
    return f"| {name} | {case.verdict} | {found['verdict']} | {', '.join(failed)} | {'' if right else 'wrong'} |"


def main(args: Sequence[str] | None = None) -> None:
    """Fit what has not been fitted, and print the table."""
    parser = argparse.ArgumentParser(description="Verdicts of good fits, null fields and planted faults.")
    parser.add_argument("--folder", type=Path, default=Path("runs/checks"))
    parser.add_argument("--only", default="", help="Words of the names of the cases to fit.")
    parser.add_argument("--good", type=int, default=14, help="Good fits of each of three kinds.")
    options = parser.parse_args(args)
    options.folder.mkdir(parents=True, exist_ok=True)
    chosen = [(name, case) for name, case in cases(options.good) if options.only in name]
    lines = [line(name, case, judged(name, case, options.folder)) for name, case in chosen]
    print("| fit | right | found | checks that fail | |\n|---|---|---|---|---|", *lines, sep="\n")


if __name__ == "__main__":
    main()
