"""What ``fit --help`` says: a page, and a section of the options when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stream_mapper.commands import VERBOSITY
from stream_mapper.errors import InputError
from stream_mapper.messages import like

SECTIONS = {
    "data": "the table, and how its stars are read and selected",
    "background": "the densities that are trained before the mixture",
    "model": "the model, the learning rate, the number of fits of an ensemble",
    "trainer": "Lightning's trainer: devices, epochs, where runs are written",
    "checkpoint": "Lightning's checkpoints",
    "early_stopping": "when the training stops before its end",
    "results": "what the run folder holds",
}
"""The sections of a configuration."""

USUAL = {
    "-c, --config FILE": "a configuration; `stream-mapper init` writes one",
    "--data.path TABLE": "the stars: FITS, ECSV, CSV or Parquet",
    "--trainer.default_root_dir FOLDER": "where the run folder is made, ./runs by default",
    "--trainer.max_epochs N": "passes through the stars; by default as many as their number asks for",
    "--trainer.accelerator cpu|gpu": "what it runs on",
    "--model.ensemble_size N": "fits from different starts",
    "--results.formats [fits]": "formats of the memberships",
    "--seed_everything N": "seed of the training, 0 by default",
    "--resume RUN|auto": "go on with a fit that was stopped, or with the newest of this configuration",
    "--print_config": "print the configuration with every default, and stop",
    "--expand": "print it with its recipe in the long form, and stop",
    "--print_schema": "print the JSON schema of a configuration, for editors, and stop",
    **VERBOSITY,
}
"""The options of most fits."""

_AFTER = """\
Paths in a configuration start at its folder, those given here in the working folder. What is inside components is set
in the file. `--model.model.help stream_mapper.MixtureModel` lists the arguments of a class."""


def page() -> str:
    """The usual options, and the sections."""
    width = max(map(len, USUAL)) + 4
    lines = ["usage: stream-mapper fit [-h [SECTION]] -c FILE [--OPTION VALUE ...]", ""]
    lines += ["Fit a stream: memberships, track, density and figures, in a run folder.", ""]
    lines += [f"  {option:<{width}}{meaning}" for option, meaning in USUAL.items()]
    lines += ["", "--help SECTION lists every option of a section, --help all those of all:"]
    lines += [f"  {name:<18}{meaning}" for name, meaning in SECTIONS.items()]
    return "\n".join([*lines, "", _AFTER, ""])


def asked_section(args: Sequence[str]) -> str | None:
    """The section whose options are asked for: "all", "" for the page, None without ``--help``.

    Raises:
        InputError: If there is no such section.
    """
    places = [i for i, arg in enumerate(args) if arg in ("-h", "--help")]
    if not places:
        return None
    after = args[places[0] + 1 : places[0] + 2]
    name = after[0] if after and not after[0].startswith("-") else ""
    if name not in ("", "all", *SECTIONS):
        raise InputError(f"--help: no section {name}{like(name, SECTIONS)}; there are {', '.join(SECTIONS)} and all.")
    return name


def options_of(parser: Any, section: str) -> str:
    """Every option of a section, with its type, its default and what it means."""
    formatter = parser._get_formatter()
    formatter.start_section(f"{section}: {SECTIONS[section]}")
    formatter.add_arguments([one for one in parser._actions if _belongs(one.dest, section)])
    formatter.end_section()
    return f"{formatter.format_help()}"


def _belongs(dest: str, section: str) -> bool:
    return dest == section or dest.startswith(f"{section}.")
