"""What a launcher starts for each rank: it takes over what the agent of its node has to say, and becomes the rank's leash.

``python -I -S rank.py SCRATCH PER_NODE COMMAND...``. Launchers differ in what they hand on of an environment, and nodes in their folders.
Standard library only, so that it starts in milliseconds.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "PALS_RANKID", "FLUX_TASK_RANK", "SLURM_PROCID")
ENVIRONMENT_FILE = "environment.json"


def main() -> None:
    """Become the leash."""
    scratch, per_node, *command = sys.argv[1:]
    node = own_number() // int(per_node)
    try:
        said = json.loads(pathlib.Path(f"{scratch}-{node}", ENVIRONMENT_FILE).read_text())
    except OSError as error:
        sys.exit(f"rank {own_number()} is not on node {node} of the allocation, or its agent has ended: {error}")
    os.environ.update(said)
    leash = str(pathlib.Path(__file__).parents[1] / "leash.py")
    os.execv(sys.executable, [sys.executable, "-I", "-S", leash, *command])


def own_number() -> int:
    """The number that the launcher has given to this process."""
    return next((int(os.environ[name]) for name in RANK_VARIABLES if os.environ.get(name, "").isdigit()), 0)


if __name__ == "__main__":
    main()
