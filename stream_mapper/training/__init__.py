"""Training with Lightning: module, data, background, callbacks."""

from stream_mapper.selection import OffStream
from stream_mapper.training.background import BackgroundStage, train_background
from stream_mapper.training.datamodule import CatalogueDataModule
from stream_mapper.training.module import StreamModule
from stream_mapper.training.start import start_from_guides

__all__ = [
    "BackgroundStage",
    "CatalogueDataModule",
    "OffStream",
    "StreamModule",
    "start_from_guides",
    "train_background",
]
