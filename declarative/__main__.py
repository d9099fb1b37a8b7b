"""``python -m declarative`` is the command line."""

import sys

from declarative.cli import main

sys.exit(main())
