"""A notebook of one session, cell by cell: train here, submit to a cluster, watch, fetch, resume, look into a failure.

``MUSHROOM_HDFS`` in the environment is where the data lie, ``JOBS_HDFS`` where jobs get their directories.
"""

# %% train here
import os
import time

import samesum as gl

dataset = "examples/data/mushroom.csv"
sf = gl.SFrame(dataset)
model = gl.boosted_trees_classifier.create(sf, target="label", max_iterations=12)

# %% a cluster
c = gl.deploy.local_cluster.create(
    "my-first-cluster", num_workers=4, worker_memory=4096, num_threads=4, working_dir=os.environ["JOBS_HDFS"]
)
c.hdfs_tmp_dir = "hdfs:///tmp"
print(c)

# %% submit
sf = gl.SFrame(os.environ["MUSHROOM_HDFS"])
job = gl.distributed.boosted_trees_classifier.submit_training_job(env=c, dataset=sf, target="label")

# %% wait for job to complete
while job.get_state() != job.STATE.COMPLETED:
    time.sleep(0.2)

# %% state
print(job.get_state())

# %% progress
print(job.get_progress())

# %% check the final state
assert job.get_final_state() == job.FINAL_STATE.SUCCESS

# %% fetch the trained model, this code will block until job.get_state() is COMPLETED
trained = job.get_results()
trained.save("./bst_mushroom")

# %% the last checkpoint
print(job.last_checkpoint())

# %% resume training from last checkpoint at iteration 10
job2 = gl.distributed.boosted_trees_classifier.submit_training_job(
    env=c, dataset=sf, target="label", max_iterations=12, resume_from_checkpoint=job.last_checkpoint()
)
resumed = job2.get_results()

# %% change the default checkpoint frequency and location
job3 = gl.distributed.boosted_trees_classifier.submit_training_job(
    env=c,
    dataset=sf,
    target="label",
    max_iterations=12,
    model_checkpoint_interval=10,
    model_checkpoint_path="hdfs:///tmp/job1/model_checkpoints",
)
job3.get_results()
print(job3.last_checkpoint())

# %% a job that fails
job4 = gl.distributed.boosted_trees_classifier.submit_training_job(env=c, dataset=sf, target="lable")
while job4.get_state() != job4.STATE.COMPLETED:
    time.sleep(0.2)

# %% its final state
print(job4.get_final_state())

# %% its summary
print(job4.summary())

# %% the location of its logs
print(job4.get_log_file_path())
