"""Training with Lightning: module, data, stages, callbacks."""

from stream_mapper.commands import only_warnings
from stream_mapper.selection import OffStream
from stream_mapper.training.datamodule import CatalogueDataModule
from stream_mapper.training.module import StreamModule
from stream_mapper.training.stages import (
    BackgroundStage,
    start_from_guides,
    train_background,
    with_frozen_densities,
)

only_warnings("lightning.pytorch", "lightning.fabric")

__all__ = [
    "BackgroundStage",
    "CatalogueDataModule",
    "OffStream",
    "StreamModule",
    "start_from_guides",
    "train_background",
    "with_frozen_densities",
]
