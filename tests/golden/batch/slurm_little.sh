#!/bin/bash
#SBATCH --job-name=dml_job_1
#SBATCH --output='/shared/my jobs/dml_job_1/logs/supervisor.log'
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2560M

exec python3 -m launch.batch.supervisor '/shared/my jobs/dml_job_1'
