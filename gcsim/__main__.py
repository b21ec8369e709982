"""The console script, and `python -m gcsim`: Ctrl-C is answered while the rest is loading too."""

import sys


def main() -> None:
    """Load the command line and run it; exit codes: `gcsim.cli.app.main`."""
    try:
        from gcsim.cli.interrupts import terminable

        with terminable():
            from gcsim.cli.app import main as command

            command()
    except KeyboardInterrupt as error:
        sys.stderr.write("Interrupted.\n")
        sys.exit(getattr(error, "code", 130))


if __name__ == "__main__":
    main()
