#!/bin/bash
#PBS -N dml_job_1
#PBS -j oe
#PBS -o '/shared/my jobs/dml_job_1/logs/pbs.log'
#PBS -r y
#PBS -l select=1:ncpus=1:mpiprocs=1:ompthreads=1:mem=2560mb
#PBS -l place=scatter

cd "$PBS_O_WORKDIR"
exec python3 -m launch.batch.supervisor '/shared/my jobs/dml_job_1' >> '/shared/my jobs/dml_job_1/logs/supervisor.log' 2>&1
