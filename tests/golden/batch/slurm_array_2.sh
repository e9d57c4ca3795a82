#!/bin/bash -l
#SBATCH --job-name=dml_sweep_1
#SBATCH --array=1-6%2
#SBATCH --output='/shared/my jobs/dml_sweep_1_%a/logs/supervisor.log'
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2560M
#SBATCH --time=01:00:00
#SBATCH --signal=B:USR1@120

module load openmpi
exec python3 -m launch.batch.supervisor "/shared/my jobs/dml_sweep_1_$SLURM_ARRAY_TASK_ID"
