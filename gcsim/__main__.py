"""The console script, and `python -m gcsim`: Ctrl-C is answered while the rest is loading too."""

import sys


def main() -> None:
    """Load the command line and run it; exit codes: `gcsim.cli.app.main`."""
    try:
        from gcsim.cli.app import main as command
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
