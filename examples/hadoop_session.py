"""A session on a Hadoop cluster, cell by cell: train here, submit there, watch, fetch, resume, look into a failure.

``python examples/hadoop_session.py DATASET INSTALLATION DATASET_PATH``: where the table of mushrooms is (a file, ``http://``, ...), the
folder on HDFS in which ``samesum cluster install`` has installed, and where the table is on HDFS. ``gl.SFrame(DATASET).save(DATASET_PATH)``
puts it there. The names are those of GraphLab Create.
"""

# %% where things are
import sys

DATASET, INSTALLATION, DATASET_PATH = sys.argv[1:4]

# %% train here
import samesum as gl

# Load data
dataset = DATASET
sf = gl.SFrame(dataset)

# Train model
model = gl.boosted_trees_classifier.create(sf, target='label', max_iterations=12)

# %% a cluster
c = gl.deploy.hadoop_cluster.create('my-first-hadoop-cluster',
                                    INSTALLATION,
                                    num_containers=4,
                                    container_size=4096,
                                    num_vcores=4)
c.hdfs_tmp_dir = 'hdfs:///tmp'
print(c)

# %% submit
sf = gl.SFrame(DATASET_PATH)

job = gl.distributed.boosted_trees_classifier.submit_training_job(env=c, dataset=sf, target='label')

# %% state
print(job.get_state())

# %% progress
print(job.get_progress())

# %% wait, and fetch the model
# wait for job to complete
import time
while job.get_state() != job.STATE.COMPLETED:
    time.sleep(1)
    print(job.get_progress())
    print(job.get_state())

# check the final state
assert job.get_final_state() == job.FINAL_STATE.SUCCESS

# fetch the trained model, this code will block until job.get_state() is COMPLETED.
model = job.get_results()
model.save('./bst_mushroom')

# %% the last checkpoint
print(job.last_checkpoint())

# %% resume
# Resume training from last checkpoint at iteration 10
job2 = gl.distributed.boosted_trees_classifier.submit_training_job(env=c, dataset=sf, target='label', max_iterations=12,
                                                                   resume_from_checkpoint=job.last_checkpoint())

# %% checkpoints of one's own
# Change the default checkpoint frequency and location
job = gl.distributed.boosted_trees_classifier.submit_training_job(env=c, dataset=sf, target='label', max_iterations=12,
                                                                  model_checkpoint_interval=10,
                                                                  model_checkpoint_path='hdfs:///tmp/job1/model_checkpoints')

# %% both have ended
job2.get_results()
job.get_results()
print(job.last_checkpoint())

# %% data of this machine, which are copied to HDFS for the job
sf = gl.SFrame(dataset)[['odor', 'bruises?', 'label']]
sf['label'] = sf['label'] == 'e'
job = gl.distributed.logistic_classifier.submit_training_job(env=c, dataset=sf, target='label')
print(job.get_results().get('num_examples'))

# %% a job that fails: there is no such column
job = gl.distributed.boosted_trees_classifier.submit_training_job(env=c, dataset=gl.SFrame(DATASET_PATH), target='lable')
job.wait()

# %% its final state
print(job.get_final_state())

# %% its summary
print(job.summary())

# %% the location of its logs
# Get the location of yarn logs, you can open the log file in your local editor.
print(job.get_log_file_path())
