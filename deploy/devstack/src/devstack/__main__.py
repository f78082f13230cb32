"""`python -m devstack` is `devstack`."""

import sys

from devstack.cli import main

sys.exit(main())
