"""`python -m fastlm` is the same as `fastlm`."""

import sys

from fastlm.cli import main

if __name__ == "__main__":
    sys.exit(main())
