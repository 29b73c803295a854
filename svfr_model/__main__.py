"""`python -m svfr_model`, or `python <path>/svfr_model` from any folder, as ComfyUI's nodes quote it."""

import runpy
import sys
from pathlib import Path

if __package__:
    from .commands import main

    sys.exit(main())
# Started by its path, Python looks for modules inside this folder instead of beside it, and knows of no package.
sys.path[0] = str(Path(__file__).absolute().parent.parent)
runpy.run_module("svfr_model", run_name="__main__")
