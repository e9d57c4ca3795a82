"""``python -m engine JOB.json``: run this process as one rank of a job."""

from __future__ import annotations

import sys

from engine.run import main

if __name__ == "__main__":
    sys.exit(main())
