"""A training that goes on from its last checkpoint, if there is one: what the batch scripts beside it start on every rank.

``srun --mpi=pmi2 python resuming.py [DATA TARGET OUTPUT]``. Every rank runs this whole file.
"""

import pathlib
import sys

from mpi4py import MPI

import samesum as ss

mushroom = pathlib.Path(__file__).parents[1] / "data" / "mushroom.csv"
path, target, output = sys.argv[1:] if len(sys.argv) == 4 else (mushroom, "label", "mushroom-model")
checkpoints = pathlib.Path(f"{output}-checkpoints")

# All ranks must resume from the same one, so that one looks.
comm = MPI.COMM_WORLD
found = sorted(checkpoints.glob("model_checkpoint_*"), key=lambda folder: int(folder.name.rpartition("_")[2])) if comm.rank == 0 else []
last = comm.bcast(str(found[-1]) if found else None)

model = ss.boosted_trees_classifier.create(
    path,
    target=target,
    max_iterations=20,
    model_checkpoint_path=str(checkpoints),
    model_checkpoint_interval=5,
    resume_from_checkpoint=last,
    verbose=comm.rank == 0,
)
model.save(output)
if comm.rank == 0:
    print(f"{comm.size} ranks, {model.num_trees} trees, from {last or 'the beginning'}")
