"""``python -m kdb`` is the ``kdb`` command."""

import sys

from kdb.cli import main

sys.exit(main())
