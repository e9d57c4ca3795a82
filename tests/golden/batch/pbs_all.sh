#!/bin/bash -l
#PBS -N dml_job_1
#PBS -j oe
#PBS -o '/shared/my jobs/dml_job_1/logs/pbs.log'
#PBS -r y
#PBS -l select=4:ncpus=16:mpiprocs=2:ompthreads=8:mem=32512mb
#PBS -l place=scatter
#PBS -l walltime=36:00:00
#PBS -q long
#PBS -A astro
#PBS -P project

module load gcc/12
module load openmpi/4.1
cd "$PBS_O_WORKDIR"
exec /apps/samesum/bin/python -m launch.batch.supervisor '/shared/my jobs/dml_job_1' --seconds 129480 >> '/shared/my jobs/dml_job_1/logs/supervisor.log' 2>&1
