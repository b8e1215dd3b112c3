"""``python -m kdb`` is the ``kdb`` command; Ctrl-C ends it quietly while it is still being imported."""

try:
    import sys

    from kdb.cli import main

    status = main()
except KeyboardInterrupt:
    status = 130
sys.exit(status)
