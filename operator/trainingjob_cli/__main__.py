"""Runs `trainingjob` as `python -m trainingjob_cli`."""

import sys

from trainingjob_cli.main import main

sys.exit(main())
