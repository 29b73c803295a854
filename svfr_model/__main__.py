"""`python -m svfr_model`."""

import sys

from .commands import main

sys.exit(main())
