"""`python -m anycap`: the same as the command `anycap`."""

import sys

from anycap.cli import main

if __name__ == "__main__":
    sys.exit(main())
