"""The pictures of the page "Is my fit believable": a good fit, and the same with guides 1.3 deg beside the stream.

``python docs/gallery/good_and_failed.py`` takes a minute or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from draw import small

import stream_mapper as sml
from stream_mapper.catalog import Reading, SkyFrame, read_track, to_table
from stream_mapper.mock import TrackMock
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.training import BackgroundStage

HERE = Path(__file__).parent
FIELD = (-60.0, -30.0)
OFF = 1.3  # deg


def fit_of(track: sml.Track, stars: object, frame: SkyFrame, coordinates: Sequence[str]) -> sml.Fit:
    """A fit of a simulated field with the guides of a track."""
    model = sml.recipes.Stream(
        track=track,
        phi1=FIELD,
        window={"phi2": (-3.0, 3.0)},
        coordinates=list(coordinates),
        errors=["pm_phi1", "pm_phi2"],
        ends=False,
    )
    return sml.fit(
        model,
        stars,
        Reading(list(dict.fromkeys(model.columns)), frame=frame),
        background=BackgroundStage(copies=1, batch_size=400, max_epochs=200),
        data={"batch_size": 1000},
        trainer={"max_epochs": 30, "accelerator": "cpu"},
        results=ResultOptions(draws=16, track_draws=60),
    )


def main() -> None:
    """Both fits, what their checks say, and two pictures of each."""
    frame = SkyFrame("gala.coordinates.GD1Koposov10")
    track = read_track(HERE.parents[1] / "experiments" / "gd1" / "track.ecsv", phi1=FIELD, spacing=5)
    field = {"phi2": (-3, 3), "survey": "gaia_dr3", "seed": 1, "matrix": frame.metadata()["matrix"]}
    stars = to_table(TrackMock(track, n_stream=250, n_background=2500, width=0.2, **field).simulate())
    shifted = {**track.coordinates, "phi2": [value + OFF for value in track.values("phi2")]}
    for name, told in {"good": track, "failed": sml.Track(track.phi1, shifted, track.widths)}.items():
        fit = fit_of(told, stars, frame, ("phi2", "pm_phi1", "pm_phi2"))
        print(name, fit.verdict, fit.metrics["expected_members"])
        for row in fit.checks:
            print("   ", row["verdict"], row["name"], row["component"], row["message"])
        for picture in ("track_residuals", "residuals"):
            (HERE / f"{name}_{picture}.png").write_bytes(small(getattr(fit.figures, picture)()))


if __name__ == "__main__":
    main()
