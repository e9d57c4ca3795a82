#!/usr/bin/env bash
# Run a command as one rank: rank 0 talks to the terminal, every other rank to a log of its own.
rank=${PMI_RANK:-${OMPI_COMM_WORLD_RANK:-0}}
[[ $rank == 0 ]] && exec "$@"
mkdir -p .build/logs # a rank that ends here would leave the others waiting in MPI_Init
exec "$@" > ".build/logs/mpi-$rank.log" 2>&1
