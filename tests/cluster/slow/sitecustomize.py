"""For ranks of jobs under test: a pause after each checkpoint, so that a job can be disturbed. The product knows nothing of it.

``TEST_PAUSE`` is how many seconds, ``TEST_HOLD`` a file: the pause lasts as long as it is there.
"""

import os
import time

_SECONDS = float(os.environ.get("TEST_PAUSE", "0"))
_HOLD = os.environ.get("TEST_HOLD")
_LONGEST = 240.0
if (_SECONDS or _HOLD) and "SAMESUM_SCRATCH" in os.environ:
    from engine import storage

    _plain = storage.put_folder

    def _put_folder(address, *arguments, **options):
        result = _plain(address, *arguments, **options)
        if "model_checkpoint_" in str(address):
            time.sleep(_SECONDS)
            until = time.monotonic() + _LONGEST
            while _HOLD and os.path.exists(_HOLD) and time.monotonic() < until:
                time.sleep(0.05)
        return result

    storage.put_folder = _put_folder
