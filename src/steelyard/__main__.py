"""The ``steelyard`` command and ``python -m steelyard``: the command line, which may be interrupted as it loads."""

import sys


def main() -> int:
    """Load the command line and run it; return the exit code."""
    try:
        from steelyard.cli import main as run_verb

        return run_verb()
    except KeyboardInterrupt:
        print("steelyard: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
