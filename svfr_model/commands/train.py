"""The command `train`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .bar import progress

if TYPE_CHECKING:
    from ..progress import Callback


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command `train`."""
    command = commands.add_parser("train", help="train or fine-tune; see docs/training.md")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("config", metavar="CONFIG", nargs="?", help="what to train, a .json or .toml file")
    what.add_argument("--tiny", metavar="DIR", help="make svfr-tiny anew: work in DIR, networks to DIR/model")
    what.add_argument("--evaluate-tiny", action="store_true", help="measure svfr-tiny on clips it has not seen")
    command.add_argument("--clips", type=int, default=32, help="held-out clips to measure on")
    command.add_argument("--quiet", action="store_true", help="no progress, results and errors only")
    command.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    speaks = os.environ.get("RANK", "0") == "0"  # of torchrun's processes the first speaks for all
    result = _trained(options, progress(options.quiet or not speaks))
    if speaks:
        print(result)
    return 0


def _trained(options: argparse.Namespace, callback: Callback | None) -> str:
    if options.tiny:
        from ..training.tiny_model import train_tiny

        train_tiny(Path(options.tiny), Path(options.tiny) / "model", callback=callback)
        return f"wrote {Path(options.tiny) / 'model'}"
    if options.evaluate_tiny:
        from ..training.evaluate import evaluate_model, markdown, summary
        from ..training.tiny_model import EVALUATION, bundled

        return markdown(summary(evaluate_model(bundled(), EVALUATION, clips=options.clips, callback=callback)))
    from ..training.train import train_from_file

    return f"wrote {train_from_file(options.config, callback)}"
