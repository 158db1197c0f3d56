"""Configurations as plain values, read so that nothing in them means something else.

YAML takes ``13:20:00`` for 48000 and ``0200`` for 128, and of a key that is there twice the last; here these are
refused, as are names of classes that a file may not name (see `stream_mapper.trust`).
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from stream_mapper.errors import InputError
from stream_mapper.trust import CONFIGURED, allowed, check_configured

MODE = "stream_mapper"
"""Parser mode of jsonargparse in which configurations are read by `load`."""

_ENTRIES = 5_000_000  # of a configuration, aliases counted each time: more is a bomb and no configuration
_DEPTH = 200
_SEXAGESIMAL = re.compile(r"[-+]?([1-9][0-9_]*(:[0-5]?[0-9])+|[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*)$")  # of YAML 1.1
_OCTAL = re.compile(r"[-+]?0[0-9_]+$")
_TABLES = (b"SIMPLE  =", b"PAR1", b"\x89HDF", b"\x1f\x8b", b"PK\x03\x04", b"<?xml")  # how files of these begin
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_FLOAT = re.compile(  # as jsonargparse has it, without sexagesimals: 1e3 is a number, too
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML whose keys are there once and whose numbers are written as numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping, unless a key is there twice; ``<<`` may be overruled."""
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in lines:
                raise InputError(
                    f"the key {key!r} is there twice, in the lines {lines[key]} and {line}; keep one of them."
                )
            lines[key] = line
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """An integer, unless it is written as YAML reads it otherwise than people do."""
    text, line = node.value, node.start_mark.line + 1
    if _SEXAGESIMAL.fullmatch(text):
        raise InputError(
            f"line {line}: {text} is of base 60 in YAML, {_in_base_60(text)}; give degrees as a decimal number, "
            "or text in quotes."
        )
    if _OCTAL.fullmatch(text):
        raise InputError(f"line {line}: {text} is of base 8 in YAML; leave out the zero at its beginning.")
    return loader.construct_yaml_int(node)


def _in_base_60(text: str) -> str:
    value = 0.0
    for part in text.lstrip("+-").split(":"):
        value = 60 * value + float(part)
    return f"{value:g}"


def _set_resolvers() -> None:
    """Times stay text, and 1e3 is a number."""
    ours = {}
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items():
        ours[letter] = [(tag, rule) for tag, rule in rules if tag.rpartition(":")[2] not in ("timestamp", "float")]
    _Loader.yaml_implicit_resolvers = ours
    _Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    _Loader.add_implicit_resolver("tag:yaml.org,2002:int", _SEXAGESIMAL, list("-+0123456789"))
    _Loader.add_implicit_resolver("tag:yaml.org,2002:int", _OCTAL, list("-+0"))
    _Loader.add_constructor("tag:yaml.org,2002:int", _number)


_set_resolvers()


def load(text: str) -> Any:
    """The values of a configuration, or of one value of it.

        >>> load("ra0: 200.0")
        {'ra0': 200.0}

    Raises:
        InputError: If a key is there twice, a number is of base 60 or 8, a class may not be named, or it has no end.
        yaml.YAMLError: If it is no YAML.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
        _check_classes(value)
    except RecursionError as error:
        raise InputError("the configuration is nested too deeply to be read.") from error
    return text if _is_flow_of_words(text, value) else value


def _is_flow_of_words(text: str, value: Any) -> bool:
    """Whether a text such as ``{a, b}`` or ``a:`` was taken for a mapping without values."""
    if not isinstance(value, dict) or not value or any(item is not None for item in value.values()):
        return False
    alone = len(value) == 1 and text.strip() == f"{next(iter(value))}:"
    return alone or set(text.strip(" {}").replace(" ", "").split(",")) == set(map(str, value))


def _check_classes(value: Any) -> None:
    """Raise InputError if some ``class_path`` may not be named."""
    waiting: list[tuple[Any, str, int]] = [(value, "", 0)]
    seen = 0
    while waiting:
        item, place, depth = waiting.pop()
        seen += 1
        if seen > _ENTRIES or depth > _DEPTH:
            raise InputError(
                f"the configuration is nested more than {_DEPTH} deep or has more than {_ENTRIES} entries."
            )
        if isinstance(item, dict):
            if isinstance(item.get("init_args", {}), dict | None) and item.get("class_path") is not None:
                check_configured(item["class_path"], place or "the configuration")
            waiting += [(inner, f"{place}.{key}" if place else str(key), depth + 1) for key, inner in item.items()]
        elif isinstance(item, list):
            waiting += [(inner, f"{place}[{i}]", depth + 1) for i, inner in enumerate(item)]


def check_text(path: Path) -> None:
    """Raise InputError if a file of configuration is no text in UTF-8, or permits itself what only a user can."""
    if not path.is_file():
        return
    raw = path.read_bytes()
    if raw.startswith(_TABLES):
        raise InputError(f"{path}: is a table or an archive, and no configuration, which is YAML; stars are data.path.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = _BOMS.get(raw[:2], "another encoding")
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}: is in {kind}, not in UTF-8 (line {line}); save it as UTF-8, such as by "
            f"iconv -f {'utf-16' if kind == 'UTF-16' else 'latin1'} -t utf-8."
        ) from error
    try:
        value = load(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except yaml.YAMLError:
        return  # the parser says it
    if isinstance(value, dict) and "allow" in value:
        raise InputError(f"{path}: allow is given on the command line alone, as --allow: a file cannot permit itself.")


def strict() -> str:
    """Let jsonargparse import what configurations may name and nothing else, in this process.

    Returns:
        The mode for parsers that read configurations as `load` does.
    """
    jsonargparse.set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[*CONFIGURED, *allowed()])
    return MODE


jsonargparse.set_loader(MODE, load, (yaml.YAMLError, InputError))
