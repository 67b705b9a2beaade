"""`python -m trainingjob_operator` is `trainingjob`."""

import sys

from trainingjob_operator.cli import main

sys.exit(main())
