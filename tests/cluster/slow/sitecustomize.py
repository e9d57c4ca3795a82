"""For ranks of jobs under test: a pause after each checkpoint, so that a job can be disturbed. The product knows nothing of it."""

import os
import time

_SECONDS = float(os.environ.get("TEST_PAUSE", "0"))
if _SECONDS and "SAMESUM_SCRATCH" in os.environ:
    from engine import storage

    _plain = storage.put_folder

    def _put_folder(address, *arguments, **options):
        result = _plain(address, *arguments, **options)
        if "model_checkpoint_" in str(address):
            time.sleep(_SECONDS)
        return result

    storage.put_folder = _put_folder
