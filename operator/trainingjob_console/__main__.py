"""`python -m trainingjob_console`: the same as `trainingjob console`."""

import sys

from trainingjob_console.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:]))
