"""Train a boosted trees classifier on the mushroom table: ``python mushroom.py`` or ``mpirun -n 2 python mushroom.py``.

The model is saved in ``bst_mushroom``, or where the first argument says.
"""

import pathlib
import sys

import samesum as ss

data = ss.Dataset(pathlib.Path(__file__).with_name("data") / "mushroom.csv")
model = ss.boosted_trees_classifier.create(data, target="label", max_iterations=12)
model.save(sys.argv[1] if len(sys.argv) > 1 else "bst_mushroom")
