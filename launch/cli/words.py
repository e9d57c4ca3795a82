"""The words of the command line: every argument and option once, with its help; those of training are in ``toolkit_words``."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.cli import completing

DATA = "Data"
MODEL = "Model"
RUN = "Run"
CLUSTER = "Cluster"
JOB = "Job"
# What stands for the value of a word that has none.
FLAG = ""

_FILES = "files, globs, folders or addresses (hdfs://, s3://, http://, https://)"

# Data

DataPaths = Annotated[list[str], typer.Argument(metavar="DATA", help=f"CSV, Parquet or Arrow IPC: {_FILES}, in row order.")]
EdgePaths = Annotated[list[str], typer.Argument(metavar="EDGES", help=f"CSV, Parquet or Arrow IPC, or edge lists: {_FILES}.")]
Format = Annotated[
    str | None,
    typer.Option(help="csv, parquet, arrow, or snap for edge lists. Default: by extension.", rich_help_panel=DATA, show_default=False),
]
Delimiter = Annotated[str, typer.Option(help="The character between CSV fields.", rich_help_panel=DATA)]
Header = Annotated[
    bool,
    typer.Option(
        "--header/--no-header", metavar=FLAG, help="Whether the first line of a CSV file names its columns.", rich_help_panel=DATA
    ),
]
NullValues = Annotated[
    list[str] | None,
    typer.Option(
        "--null-value",
        metavar="TEXT",
        help="CSV text that means missing; may be repeated. Default: nothing, NA and null.",
        rich_help_panel=DATA,
    ),
]
ColumnTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--column-type", metavar="NAME=TYPE", help="The type of a CSV column, as zip=string; may be repeated.", rich_help_panel=DATA
    ),
]
Comment = Annotated[
    str | None, typer.Option(help="The character that begins lines to skip, such as #.", rich_help_panel=DATA, show_default=False)
]
Source = Annotated[str, typer.Option("--src", help="The column of sources, by name or position from 0.", rich_help_panel=DATA)]
Destination = Annotated[str, typer.Option("--dst", help="The column of destinations.", rich_help_panel=DATA)]
Vertices = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILES", help="Files with a row for each vertex, as EDGES; may be repeated.", rich_help_panel=DATA, show_default=False
    ),
]
VertexId = Annotated[str, typer.Option("--vid", help="The column of ids in these files.", rich_help_panel=DATA)]
HeadRows = Annotated[int, typer.Option("--rows", "-n", help="How many rows to show [0 or more].", rich_help_panel=DATA)]
HeadColumns = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="A,B,...", help="The columns to show; may be repeated. Default: all.", rich_help_panel=DATA),
]
EveryRow = Annotated[
    bool,
    typer.Option(
        "--all", metavar=FLAG, help="Read every row of text: its types are exact then, and its rows counted.", rich_help_panel=DATA
    ),
]

# Model

ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="The folder of a saved model.")]
Target = Annotated[str, typer.Option(help="The column to learn.", rich_help_panel=MODEL)]
Features = Annotated[
    list[str] | None,
    typer.Option(metavar="A,B,...", help="The columns to learn from; may be repeated. Default: all but the target.", rich_help_panel=MODEL),
]

# Run

ModelOutput = Annotated[str, typer.Option("--output", "-o", help="The folder to save the model in.", rich_help_panel=RUN)]
Report = Annotated[
    str | None,
    typer.Option(help="A .html file for a page about the training.", rich_help_panel=RUN, show_default=False),
]
VertexTable = Annotated[
    str | None,
    typer.Option(help="A file for the result of every vertex, .csv or .parquet.", rich_help_panel=RUN, show_default=False),
]
PredictionsOutput = Annotated[str, typer.Option("--output", "-o", help="The file to write, .csv or .parquet.", rich_help_panel=RUN)]
MetricsOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", help="A .json file for the metrics, with the ROC curve.", rich_help_panel=RUN, show_default=False),
]
OutputType = Annotated[
    str | None,
    typer.Option(help="class, probability, margin or probability_vector. Default: class; regression has values only.", rich_help_panel=RUN),
]
NumThreads = Annotated[
    int | None, typer.Option(help="Threads of each rank [1 or more; default: cores of the node / its ranks].", rich_help_panel=RUN)
]
Ranks = Annotated[
    int | None, typer.Option(help="Start so many ranks with mpiexec [1 or more]. Default: this process is one.", rich_help_panel=RUN)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", metavar=FLAG, help="Print no progress.", rich_help_panel=RUN)]
Debug = Annotated[bool, typer.Option("--debug", metavar=FLAG, help="Show the traceback of an error.")]

# Clusters

Cluster = Annotated[str, typer.Argument(metavar="NAME", help="The name of a cluster.", autocompletion=completing.complete_cluster)]
NewCluster = Annotated[str, typer.Argument(metavar="NAME", help="What the cluster is to be called.")]
NumWorkers = Annotated[int, typer.Option(help="Workers of a job, each one rank [1 or more].", rich_help_panel=CLUSTER)]
WorkerThreads = Annotated[
    int | None, typer.Option("--num-threads", help="Threads of each worker. Default: its share of the cores.", rich_help_panel=CLUSTER)
]
WorkerMemory = Annotated[
    int | None,
    typer.Option(help="Memory of each worker in MB; one above it ends its job. Default: its share.", rich_help_panel=CLUSTER),
]
WorkingDirectory = Annotated[
    str | None,
    typer.Option(help="Folder or address below which every job has its directory. Default: ~/.samesum/jobs.", rich_help_panel=CLUSTER),
]
NodeFolder = Annotated[
    str | None,
    typer.Option(help="Folder for caches on the workers' machines. Default: the temporary folder.", rich_help_panel=CLUSTER),
]
StagingFolder = Annotated[
    str | None,
    typer.Option(help="Folder or address for data staged for jobs. Default: the job's directory.", rich_help_panel=CLUSTER),
]
MaxRestarts = Annotated[
    int, typer.Option(help="How often a job is started anew after a worker was lost [0 or more].", rich_help_panel=CLUSTER)
]
HangTimeout = Annotated[float, typer.Option(help="Seconds without progress after which a job counts as hung.", rich_help_panel=CLUSTER)]
Variables = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="A variable for the workers; may be repeated. No secrets.", rich_help_panel=CLUSTER),
]

# Jobs

Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="A job's id, the beginning of one (also without dml_job_), or its working directory.",
        autocompletion=completing.complete_job,
    ),
]
OnCluster = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="NAME",
        help="The cluster to run on.",
        envvar="SAMESUM_CLUSTER",
        rich_help_panel=JOB,
        autocompletion=completing.complete_cluster,
    ),
]
Clean = Annotated[
    bool,
    typer.Option("--clean", help="Remove staged data of jobs that have ended, or were never submitted.", rich_help_panel=JOB),
]
OfCluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="NAME",
        help="Only the jobs of this cluster.",
        rich_help_panel=JOB,
        autocompletion=completing.complete_cluster,
    ),
]
JobDirectory = Annotated[
    str | None,
    typer.Option("--working-dir", help="The job's directory, empty or not there yet. Default: one in the cluster's.", rich_help_panel=JOB),
]
Wait = Annotated[
    bool, typer.Option("--wait", metavar=FLAG, help="Show the progress until the job has ended, and exit as it ended.", rich_help_panel=JOB)
]
JobOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Where to write. Default: into the job's directory.", rich_help_panel=JOB, show_default=False),
]
Program = Annotated[str, typer.Argument(metavar="PROGRAM", help="A program in Python, which every worker runs as one rank of MPI.")]
ProgramArguments = Annotated[list[str] | None, typer.Argument(metavar="-- ARGUMENTS", help="Its arguments.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", metavar=FLAG, help="Go on until the job has ended.", rich_help_panel=JOB)]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait at most.", rich_help_panel=JOB)]
Rank = Annotated[int | None, typer.Option(help="Only the log of this rank.", rich_help_panel=JOB)]
Attempt = Annotated[int | None, typer.Option(help="Of this attempt. Default: the last one.", rich_help_panel=JOB)]
ResultOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Where to save it: the folder for a model, the .json file for metrics.", rich_help_panel=JOB),
]

PageOutput = Annotated[str | None, typer.Option("--output", "-o", help="A .html file to write the page to.", rich_help_panel=JOB)]
BundleOutput = Annotated[str, typer.Argument(metavar="FILE", help="The .zip file to write.")]

# Answers

Json = Annotated[bool, typer.Option("--json", metavar=FLAG, help="Print JSON.")]
