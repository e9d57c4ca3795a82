"""``python -m launch.cli`` is ``samesum``."""

from __future__ import annotations

from launch.cli.app import main

if __name__ == "__main__":
    main()
