"""`python -m udacore` and `torchrun -m udacore`: the same program as `uda`."""

import sys

from udacore.cli import main

if __name__ == "__main__":
    sys.exit(main())
