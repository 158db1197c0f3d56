"""Writes the page of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astropy.table import Table
from jinja2 import Environment, PackageLoader

from stream_mapper.catalog import replace_file
from stream_mapper.page.labels import name_of
from stream_mapper.page.losses import losses
from stream_mapper.page.numbers import quoted
from stream_mapper.page.parts import OUTCOMES, Part, checks_part, list_part, pictures, table_part, text_of
from stream_mapper.page.plots import Plots, draw
from stream_mapper.page.stars import Stars
from stream_mapper.results.provenance import VERSIONS, digest

NAME = "report.html"
_SEEN = ("sky", "colour_magnitude", "proper_motions")  # figures of the folder that the linked views replace
_MEANS = {
    "believable": "No check failed.",
    "doubtful": "A check failed: read what it found before you use the fit.",
    "no stream": "The stars are explained as well without a stream.",
}
_SAID = {"fail": "failed", "note": "noted", "ok": "ok"}
_OWN = {"style": "page.css", "behaviour": "page.js"}


def write_page(
    folder: Path,
    tables: Mapping[str, Table],
    metrics: Mapping[str, Any],
    facts: Mapping[str, Any],
    stars: Stars | None,
    reason: str = "",
) -> Path:
    """Write ``report.html`` into a run folder, from what is given and the folder's figures, events and configuration.

    Arguments:
        folder: The run folder.
        tables: Its tables by name, as far as they are there: checks, components, track, density, features, selection,
            members.
        metrics: Its numbers.
        facts: What it says of its origin.
        stars: The stars of the linked views; None for a page without.
        reason: Why there are no stars.

    Returns:
        The page, which needs no other file and nothing from the network.
    """
    templates = environment()
    plots = draw(losses(folder), stars, tables)
    page = templates.get_template("page.html.jinja").render(
        **_glance(folder, tables, metrics, facts),
        **_of_stars(stars, plots, reason),
        parts=[part for part in _parts(folder, tables, metrics, facts, plots, stars) if not part.is_empty],
        config=_text(folder / "config.yaml"),
        library=plots.library,
        script=plots.script,
        **{key: templates.get_template(name).render() for key, name in _OWN.items()},
    )
    replace_file(folder / NAME, lambda new: new.write_text(page, encoding="utf-8"))
    return folder / NAME


def environment() -> Environment:
    """What makes pages of the templates."""
    loader = PackageLoader("stream_mapper.page")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _glance(
    folder: Path, tables: Mapping[str, Table], metrics: Mapping[str, Any], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Title, verdict, the checks in words and the numbers that people quote."""
    verdict, checks = str(metrics.get("verdict", "")), tables.get("checks")
    words = ("verdict", "name", "component", "message")
    rows = [] if checks is None else [{word: text_of(row[word]) for word in words} for row in checks]
    counted = Counter(row["verdict"] for row in rows)
    name = facts.get("OBJECT") or folder.name
    return {
        "title": f"{name}: a fit of stream_mapper",
        "verdict": verdict,
        "verdict_means": _MEANS.get(verdict, ""),
        "checks": sorted(rows, key=lambda row: OUTCOMES.index(row["verdict"])),
        "outcomes": [(_SAID[outcome], counted[outcome]) for outcome in OUTCOMES if counted[outcome]],
        "numbers": quoted(metrics, tables),
    }


def _of_stars(stars: Stars | None, plots: Plots, reason: str) -> dict[str, Any]:
    """The linked views, and what stands beside them."""
    if stars is None:
        return {"views": [], "no_views": f"The stars are not shown: {reason}."}
    return {
        "views": plots.views,
        "facts": plots.facts,
        "along": name_of(stars.along),
        "lowest": stars.lowest,
        "sampled": stars.sampled,
        "on_sky": stars.icrs is not None,
    }


def _parts(
    folder: Path,
    tables: Mapping[str, Table],
    metrics: Mapping[str, Any],
    facts: Mapping[str, Any],
    plots: Plots,
    stars: Stars | None,
) -> list[Part]:
    """The parts below the stars; those of which there is nothing are empty."""
    plain = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    versions = dict(one.split(" ", 1) for one in str(facts.get(VERSIONS, "")).split(", ") if " " in one)
    origin = {key: value for key, value in facts.items() if key != VERSIONS}
    best = folder / "checkpoints" / "best.ckpt"
    now = {"SHA-256 of best.ckpt now": digest(best)} if best.is_file() else {}
    said = "The versions are those of the fit." if versions else "This fit did not keep the versions it ran with."
    return [
        *pictures(folder / "figures", () if stars is None else _SEEN),
        table_part("features", "Gaps and peaks", tables.get("features")),
        checks_part(tables.get("checks")),
        Part("training", "Training", plots=plots.losses),
        table_part("cuts", "Cuts", tables.get("selection"), "What each cut of the selection removed."),
        table_part("best", "Best members", tables.get("members"), folded="members.ecsv"),
        list_part("numbers", "All numbers", plain, folded="metrics.json"),
        list_part("provenance", "Where it comes from", {**origin, **now, **versions}, said),
    ]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
