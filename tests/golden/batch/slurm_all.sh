#!/bin/bash -l
#SBATCH --job-name=dml_job_1
#SBATCH --output='/shared/my jobs/dml_job_1/logs/supervisor.log'
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --mem=32512M
#SBATCH --time=36:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --partition=long
#SBATCH --account=astro
#SBATCH --constraint=icelake

module load gcc/12
module load openmpi/4.1
exec /apps/samesum/bin/python -m launch.batch.supervisor '/shared/my jobs/dml_job_1'
