"""The console script: ``stream-mapper fit|predict|simulate ...``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

_COMMANDS = ("fit", "predict", "simulate")


def main(args: Sequence[str] | None = None) -> None:
    """Hand the arguments to the command of that name."""
    given = list(sys.argv[1:] if args is None else args)
    if not given or given[0] not in _COMMANDS:
        asked = given[0] if given else "nothing"
        stream = sys.stdout if asked in ("-h", "--help") else sys.stderr
        stream.write(f"usage: stream-mapper {{{','.join(_COMMANDS)}}} --help\n")
        if stream is sys.stderr:
            stream.write(f"error: no command {asked!r}.\n")
            raise SystemExit(2)
        return
    importlib.import_module(f"stream_mapper.{given[0]}").main(given[1:])


if __name__ == "__main__":
    main()
