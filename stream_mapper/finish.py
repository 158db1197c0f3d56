"""What is missing of a fit whose training is over: ``stream-mapper finish runs/version_0``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stream_mapper.commands import ALLOW, ALLOW_HELP, OneLineErrors, add_verbosity, run
from stream_mapper.errors import InputError


def finish(folder: str, allow: Sequence[str] = ()) -> Path:
    """Compute and write what a run lacks after its training: posterior, memberships, checks, figures, numbers.

    Arguments:
        folder: The folder of a fit that was stopped after its training.
        allow: Modules of your own that its configuration names; name only what you trust.

    Returns:
        The folder.

    Raises:
        InputError: If its training is not over, or it cannot go on.
    """
    from stream_mapper.fit import fit_command  # noqa: PLC0415 (astropy and torch take seconds to load)
    from stream_mapper.results.stages import is_complete, is_run, left_of, training_is_over  # noqa: PLC0415

    path = Path(folder)
    if is_run(path) and not is_complete(path) and not training_is_over(path):
        raise InputError(f"{left_of(path)}: its training is not over.")
    fit_command(["--resume", folder, *(f"{ALLOW}={name}" for name in allow)])
    return path


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    about = "What is missing of a fit after its training: posterior, memberships, checks, figures, numbers."
    parser = OneLineErrors(prog="stream-mapper finish", description=about)
    parser.add_argument("run", type=str, help="The folder of a fit that was stopped, such as runs/version_0.")
    parser.add_argument(ALLOW, type=list[str], default=[], help=ALLOW_HELP)
    add_verbosity(parser)

    def command(given: Sequence[str]) -> Path:
        asked = parser.parse_args(given)
        return finish(asked.run, asked.allow)

    run(command, args)


if __name__ == "__main__":
    main()
