"""`python -m trainingjob_records`: the same as `trainingjob records`."""

import sys

from trainingjob_records.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:]))
