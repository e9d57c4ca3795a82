"""Train, evaluate and save on as many ranks as there are: ``mpirun -n 4 python train.py [DATA TARGET OUTPUT]``.

Every rank runs this whole file and calls the same things. What they return is the same on every rank, so one rank prints it.
"""

import pathlib
import sys

from mpi4py import MPI

import samesum as ss

mushroom = pathlib.Path(__file__).with_name("data") / "mushroom.csv"
path, target, output = sys.argv[1:] if len(sys.argv) == 4 else (mushroom, "label", "model")

train, test = ss.Dataset(path).random_split(0.8, seed=1)
model = ss.boosted_trees_classifier.create(train, target=target, max_iterations=20, verbose=False)
metrics = model.evaluate(test)
model.save(output)
if MPI.COMM_WORLD.rank == 0:
    print(f"{MPI.COMM_WORLD.size} ranks, accuracy {metrics['accuracy']:.6f}, log loss {metrics['log_loss']:.6f}")
