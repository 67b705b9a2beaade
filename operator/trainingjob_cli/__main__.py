"""`python -m trainingjob_cli` is `trainingjob`."""

import sys

from trainingjob_cli.main import main

sys.exit(main())
