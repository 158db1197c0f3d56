"""A fit from the table to the run folder, step by step.

    table --read--> stars --pretrain--> background --start--> guides --train (Lightning)--> weights
    --polish--> top of the posterior --posterior--> its middle, and draws --judge--> checks --write--> run folder

Each step takes what it needs and returns what it found; :func:`run` is all of them, from top to bottom, and :func:`fit`
the same from Python. What each leaves in the run folder, so that a fit that was stopped goes on, is in
:mod:`stream_mapper.results.stages`.
"""

from stream_mapper.pipeline.beginning import check_inputs, pretrain, read, start
from stream_mapper.pipeline.ending import collect, judge, write
from stream_mapper.pipeline.functions import polish, posterior
from stream_mapper.pipeline.mixture import Trained, train, training_batches, which_weights
from stream_mapper.pipeline.whole import fit, run

__all__ = [
    "Trained",
    "check_inputs",
    "collect",
    "fit",
    "judge",
    "polish",
    "posterior",
    "pretrain",
    "read",
    "run",
    "start",
    "train",
    "training_batches",
    "which_weights",
    "write",
]
