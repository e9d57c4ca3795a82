#!/bin/bash
#PBS -N dml_sweep_1
#PBS -J 1-6
#PBS -j oe
#PBS -o '/shared/my jobs/dml_sweep_1_^array_index^/logs/pbs.log'
#PBS -r y
#PBS -l select=1:ncpus=1:mpiprocs=1:ompthreads=1:mem=2560mb
#PBS -l place=scatter
#PBS -l walltime=01:00:00

cd "$PBS_O_WORKDIR"
exec python3 -m launch.batch.supervisor "/shared/my jobs/dml_sweep_1_$PBS_ARRAY_INDEX" --seconds 3480 >> "/shared/my jobs/dml_sweep_1_$PBS_ARRAY_INDEX/logs/supervisor.log" 2>&1
