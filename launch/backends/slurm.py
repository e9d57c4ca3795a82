"""Slurm: a job is a script of the batch system."""

from launch.backends.batch import BatchBackend
from launch.batch.schedulers import Slurm

BACKEND = BatchBackend("slurm", Slurm())
