"""The command line of a fit: its options are the constructors' arguments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    instantiate_class,
)
from lightning.pytorch.loggers import TensorBoardLogger

from stream_mapper.catalog import replace_file
from stream_mapper.commands import ALLOW, ALLOW_HELP, OneLineErrors, take_allowed
from stream_mapper.errors import InputError
from stream_mapper.paths import FilePath, absolute
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.results.stages import CONFIG, Stages, drop_run
from stream_mapper.training import claims, resuming
from stream_mapper.training.background import BackgroundStage, Hardware
from stream_mapper.training.callbacks import StopEarly
from stream_mapper.training.datamodule import CatalogueDataModule
from stream_mapper.training.expanded import expanded
from stream_mapper.training.help import asked_section, options_of, page
from stream_mapper.training.length import BY_STARS
from stream_mapper.training.module import StreamModule
from stream_mapper.training.trainer import BEST_EPOCH, DEFAULTS, board, callbacks
from stream_mapper.training.whole_files import EpochCheckpoint, beside_nothing, without_requeue

_RUNS_ON = ("accelerator", "devices", "num_nodes", "strategy")
_FOLDERS = ("trainer.default_root_dir", "trainer.logger.init_args.save_dir", "checkpoint.dirpath")
_NOT_KEPT = ("allow", "config", "expand", "resume")
_ROOT = "runs"
_PRECISIONS = ("None", "32", "32-true", "64", "64-true")


class FitParser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser, with errors on one line, and folders of a file that are relative to it."""

    def parse_path(self, path: FilePath, *args: Any, **kwargs: Any) -> Namespace:
        """What a configuration file says."""
        config = super().parse_path(path, *args, **kwargs)
        return _with_folders(config, Path(path).parent)

    section: str | None = None  # whose options --help lists

    def format_help(self, *args: Any) -> str:
        """A page, or what was asked for."""
        if self.section is None or self.section == "all":
            return super().format_help(*args)
        return options_of(self, self.section) if self.section else page()


class StreamCLI(LightningCLI):
    """Model, data, background stage, checkpoints and trainer from one config."""

    def __init__(self, args: ArgsType = None) -> None:
        args = sys.argv[1:] if args is None else args
        args = take_allowed(args) if isinstance(args, list) else args
        self._asked: str | None = None
        if isinstance(args, list):
            self._asked, args = resuming.take_resume(args)
        self.run_folder: Path | None = None
        _check_overrides(args)
        self._section = asked_section(args) if isinstance(args, list) else None
        super().__init__(
            StreamModule,
            CatalogueDataModule,
            run=False,
            args=args,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=None,
            trainer_defaults=DEFAULTS | {"callbacks": callbacks()},
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Our parser in place of Lightning's."""
        kwargs = {"dump_header": None, "prog": "stream-mapper fit"} | kwargs
        parser = FitParser(**kwargs)
        parser.section = self._section
        parser.add_argument("-c", "--config", action="config", help="A configuration file in YAML.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The background stage, the checkpoints, early stopping and what the run folder holds."""
        parser.add_class_arguments(BackgroundStage, "background")
        parser.add_lightning_class_args(EpochCheckpoint, "checkpoint")
        parser.add_lightning_class_args(StopEarly, "early_stopping")
        parser.add_class_arguments(ResultOptions, "results")
        text = "Print the configuration with its recipe in the long form, part by part, and stop."
        parser.add_argument("--expand", action="store_true", help=text)
        parser.add_argument(*resuming.OPTIONS, type=str, help=resuming.HELP)
        parser.add_argument(ALLOW, type=list[str], default=[], help=ALLOW_HELP)
        parser.set_defaults({f"checkpoint.{key}": value for key, value in BEST_EPOCH.items()})

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """The configuration that is given; for a run that goes on its own, which nothing that is given may change."""
        by_name = self._asked not in (None, resuming.AUTO)
        if by_name and isinstance(args, list):
            self.run_folder = resuming.taken_run(str(self._asked))
            args = ["--config", str(self.run_folder / CONFIG), *args]
        super().parse_arguments(parser, args)
        if self.config.pop("resume") is not None:
            raise InputError("resume: is an option of the command line, --resume RUN, and of no configuration.")
        if self.run_folder is not None:
            resuming.check_same(self.run_folder, self.kept())
        elif self._asked is not None:
            root = Path(self.config.trainer.default_root_dir or _ROOT)
            self.run_folder = resuming.newest_run(root, self.kept())

    def kept(self) -> dict[str, Any]:
        """The configuration as a run keeps it: its folders do not depend on where it was started."""
        config = _with_folders(self.config.clone(), Path())
        plain: dict[str, Any] = yaml.safe_load(self.parser.dump(config, skip_none=False))
        return {name: value for name, value in plain.items() if name not in _NOT_KEPT}

    def stages(self) -> Stages:
        """What takes the stages of the fit from its folder, and keeps them there."""
        return Stages(self._begin, self.run_folder, writes=self.trainer.is_global_zero)

    def _begin(self) -> Path:
        """Make the folder of a new run, with its configuration; no other process gets it."""
        logger, text = self.trainer.logger, yaml.safe_dump(self.kept(), sort_keys=False, allow_unicode=True)
        if isinstance(logger, TensorBoardLogger) and not logger.name:
            folder = claims.new_folder(Path(logger.save_dir))
            self.trainer.logger = board(folder)
        else:
            folder = Path(self.trainer.default_root_dir if logger is None else logger.log_dir or logger.save_dir or "")
            folder.mkdir(parents=True, exist_ok=True)
        claims.check_free(folder)
        drop_run(folder)
        replace_file(folder / CONFIG, lambda new: new.write_text(text))
        self.run_folder = folder
        return folder

    def expanded(self) -> str | None:
        """The configuration in the long form, if that was asked for; see `stream_mapper.training.expanded`."""
        if self._to_expand is None:
            return None
        return expanded(self._to_expand, self.model.model, self.config_init.background)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The trainer, which leaves SLURM's signals alone unless the configuration has plugins."""
        ours = {} if self.config.trainer.plugins else without_requeue()
        return super().instantiate_trainer(**{**ours, **kwargs})

    def hardware(self) -> Hardware:
        """What the trainings run on."""
        trainer: Any = self.trainer
        return Hardware(self.runs_on(), trainer.num_devices * trainer.num_nodes, trainer.strategy.root_device)

    def _given(self) -> dict[str, Any]:
        """The configuration as plain values, those that differ from the defaults."""
        given = yaml.safe_load(self.parser.dump(self.config, skip_default=True))
        return {name: value for name, value in given.items() if name not in _NOT_KEPT}

    def runs_on(self) -> dict[str, Any]:
        """Arguments for further trainers, which run on what this one's does."""
        given = {name: self.config_init.trainer[name] for name in _RUNS_ON} | beside_nothing()
        if isinstance(self.config.trainer.strategy, Namespace):  # a strategy serves one trainer
            given["strategy"] = instantiate_class((), self.config.trainer.strategy.as_dict())
        return given

    def before_instantiate_classes(self) -> None:
        """TensorBoard events go into the run folder, ``default_root_dir/version_K``, also from a saved config."""
        trainer = self.config.trainer
        _check_trainer(trainer)
        self.config.pop("allow")
        self._to_expand = self._given() if self.config.pop("expand") else None
        trainer.default_root_dir = trainer.default_root_dir or _ROOT
        ours = trainer.logger not in (None, True, False) and trainer.logger.get("init_args", {}).get("name") == ""
        if trainer.logger in (None, True) or ours:
            init = {"save_dir": str(trainer.default_root_dir), "name": "", "default_hp_metric": False}
            trainer.logger = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": init}
        if self.run_folder is not None:
            self._stay_in(self.run_folder)

    def _stay_in(self, folder: Path) -> None:
        """Let the trainer write into the folder of a run that goes on."""
        trainer = self.config.trainer
        if trainer.logger is False:
            trainer.default_root_dir = str(folder)
        elif isinstance(trainer.logger, dict | Namespace):
            trainer.logger["init_args"] |= {"save_dir": str(folder.parent), "name": "", "version": folder.name}


def _with_folders(config: Namespace, start: Path) -> Namespace:
    """A configuration whose folders of Lightning's start at the root."""
    for name in _FOLDERS:
        if isinstance(given := config.get(name), str):
            config[name] = absolute(start / Path(given).expanduser())
    return config


def _check_trainer(trainer: Any) -> None:
    """Refuse what Lightning's trainer would take and a fit cannot do."""
    if trainer.max_epochs is None or (trainer.max_epochs < 1 and trainer.max_epochs != BY_STARS):
        needed = "1 or more, for the learning rate, or -1 for as many as the number of stars asks for"
        raise InputError(f"--trainer.max_epochs must be {needed}; got {trainer.max_epochs}.")
    if str(trainer.precision) not in _PRECISIONS:
        raise InputError(
            f"--trainer.precision must be 32-true or 64-true, for densities need the digits; got {trainer.precision}."
        )
    if trainer.limit_val_batches == 0:
        raise InputError("--trainer.limit_val_batches must not be 0: the held-out stars are looked at every epoch.")


def _check_overrides(args: ArgsType) -> None:
    """Refuse options inside a component: the parser, which takes components as values, would drop some in silence."""
    for arg in args if isinstance(args, list) else ():
        if ".components." in arg.split("=", maxsplit=1)[0]:
            raise InputError(
                f"{arg}: what is inside components is set in the configuration file, not on the command line."
            )
