"""`python -m trainingjob_sandbox up`: the sandbox without the operator's command line."""

import sys

from trainingjob_sandbox.starter import up


def main() -> int:
    """Run `up`, the only command."""
    if sys.argv[1:2] != ["up"]:
        sys.stderr.write("usage: python -m trainingjob_sandbox up [--port N] [--root DIR]\n")
        return 2
    return up(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
