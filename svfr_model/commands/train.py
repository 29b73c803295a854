"""The command `train`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .bar import progress
from .options import Commands, path, whole
from .process import tell

if TYPE_CHECKING:
    from ..base.progress import Callback


def add(commands: Commands) -> None:
    """Add the command `train`."""
    command = commands.add_parser("train", help="train or fine-tune; see docs/training.md")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("config", metavar="CONFIG", type=path, nargs="?", help="what to train, a .json or .toml file")
    what.add_argument(
        "--tiny", metavar="DIR", type=path, help="train svfr-tiny again in DIR, with the networks in DIR/model"
    )
    what.add_argument("--evaluate-tiny", action="store_true", help="measure svfr-tiny on clips it has not seen")
    what.add_argument(
        "--stc-tiny", metavar="DIR", type=path, help="train stc-tiny again in DIR, with the networks in DIR/model"
    )
    what.add_argument(
        "--evaluate-stc-tiny", action="store_true", help="measure stc-tiny on clips it has not seen"
    )
    command.add_argument("--clips", type=whole(1, 100_000), default=32, help="held-out clips to measure on")
    command.add_argument("--quiet", action="store_true", help="no progress, results and errors only")
    command.set_defaults(run=_train, goes_on="The same command continues from the last checkpoint that was written")


def _train(options: argparse.Namespace) -> int:
    speaks = os.environ.get("RANK", "0") == "0"  # of torchrun's processes the first speaks for all
    result = _trained(options, progress(options.quiet or not speaks))
    if speaks:
        tell(result)
    return 0


def _trained(options: argparse.Namespace, callback: Callback | None) -> str:
    if options.tiny:
        from ..files.paths import Output, check_paths
        from ..tiny.model import train_tiny

        check_paths([], [Output(options.tiny, "trained networks", form="folder")])
        train_tiny(options.tiny, options.tiny / "model", callback=callback)
        return f"wrote {options.tiny / 'model'}"
    if options.evaluate_tiny:
        from ..tiny.evaluate import HELD_OUT, Trial, evaluate_model, evaluate_steps, markdown, summary
        from ..tiny.model import EVALUATION, bundled

        seeds = range(HELD_OUT, HELD_OUT + options.clips)
        samples = evaluate_model(bundled(), Trial(EVALUATION, coded=True), seeds, callback)
        steps = evaluate_steps(bundled(), EVALUATION, seeds=seeds, callback=callback)
        return f"{markdown(summary(samples))}\n\nBlind restoration in one pass:\n\n{steps}"
    if options.stc_tiny:
        from ..files.paths import Output, check_paths
        from ..tiny.stc import train_stc_tiny

        check_paths([], [Output(options.stc_tiny, "trained networks", form="folder")])
        train_stc_tiny(options.stc_tiny, options.stc_tiny / "model", callback=callback)
        return f"wrote {options.stc_tiny / 'model'}"
    if options.evaluate_stc_tiny:
        from ..tiny.evaluate import HELD_OUT
        from ..tiny.stc import bundled_stc
        from ..tiny.stc_evaluate import evaluate_stc_tiny

        return evaluate_stc_tiny(bundled_stc(), range(HELD_OUT, HELD_OUT + options.clips), callback)
    from ..training.config import read_settings

    if "stage" in read_settings(options.config):  # of BFVR-STC's training, SVFR's has none
        return f"wrote {_train_stc(options.config, callback)}"
    from ..training.train import train_from_file

    return f"wrote {train_from_file(options.config, callback)}"


def _train_stc(config: Path, callback: Callback | None) -> Path:
    from ..metrics.perceptual import load_lpips_loss
    from ..training.stc_losses import scale_distance
    from ..training.stc_train import load_stc_config, train_stc

    wanted = load_stc_config(config)
    perceptual = load_lpips_loss() if wanted.perceptual else scale_distance
    return train_stc(wanted, callback, perceptual=perceptual)
