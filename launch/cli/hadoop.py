"""``samesum cluster install`` and ``samesum cluster hadoop``: Hadoop clusters."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.cli import words
from launch.cli.answers import Answer, say

Installation = Annotated[str, typer.Argument(metavar="ADDRESS", help="The folder of the installation, such as hdfs:///apps/samesum.")]
ConfDir = Annotated[
    str | None,
    typer.Option(help="Folder with yarn-site.xml and Hadoop's other settings. Default: HADOOP_CONF_DIR.", rich_help_panel=words.CLUSTER),
]
Containers = Annotated[int | None, typer.Option(help="Workers of a job, each in a container of its own.", rich_help_panel=words.CLUSTER)]
ContainerSize = Annotated[int | None, typer.Option(help="Memory of each container in MB.", rich_help_panel=words.CLUSTER)]
Vcores = Annotated[int | None, typer.Option(help="Vcores and threads of each container.", rich_help_panel=words.CLUSTER)]
Queue = Annotated[str | None, typer.Option(help="YARN's queue. Default: default.", rich_help_panel=words.CLUSTER)]
NodeLabel = Annotated[str | None, typer.Option(help="Label of the nodes to run on.", rich_help_panel=words.CLUSTER)]
Interpreter = Annotated[
    str | None,
    typer.Option(help="A Python with samesum that all nodes have at this path, in place of a packed one.", rich_help_panel=words.CLUSTER),
]
Principal = Annotated[
    str | None, typer.Option(help="Who submits, by the keys in --keytab, where Kerberos asks.", rich_help_panel=words.CLUSTER)
]
Keytab = Annotated[str | None, typer.Option(help="File with the keys of --principal.", rich_help_panel=words.CLUSTER)]
Viewers = Annotated[
    list[str] | None,
    typer.Option("--view-user", help="Who may look at jobs beside their owner; may be repeated.", rich_help_panel=words.CLUSTER),
]
Packages = Annotated[
    list[str] | None,
    typer.Option("--package", help="A package for the workers, as pip takes it; may be repeated.", rich_help_panel=words.CLUSTER),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="A word by which YARN finds the cluster's jobs; may be repeated.", rich_help_panel=words.CLUSTER),
]
FirstPort = Annotated[int, typer.Option(help="First port that a job listens at.", rich_help_panel=words.CLUSTER)]
LastPort = Annotated[int, typer.Option(help="Last port that a job listens at.", rich_help_panel=words.CLUSTER)]
Fewest = Annotated[
    int | None,
    typer.Option(help="With how many containers a job goes on where no more come in time. Default: all.", rich_help_panel=words.CLUSTER),
]
Patience = Annotated[
    float,
    typer.Option(
        help="Seconds in which all containers must be there, and before them the application master.", rich_help_panel=words.CLUSTER
    ),
]


def install(
    address: Installation,
    *,
    hadoop_conf_dir: ConfDir = None,
    num_containers: Containers = None,
    container_size: ContainerSize = None,
    num_vcores: Vcores = None,
    queue: Queue = None,
    node_tmp_dir: words.NodeFolder = None,
    hdfs_tmp_dir: words.StagingFolder = None,
    python: Interpreter = None,
    principal: Principal = None,
    keytab: Keytab = None,
    answer: Answer,
) -> None:
    """Pack this Python with samesum for the nodes of a Hadoop cluster, once per version, and write its defaults down."""
    from launch.yarn import hadoop, installing, security

    hadoop.use(hadoop_conf_dir)
    security.use_keytab(principal, keytab)
    settings = {
        "num_containers": num_containers,
        "container_size": container_size,
        "num_vcores": num_vcores,
        "queue": queue,
        "node_tmp_dir": node_tmp_dir,
        "hdfs_tmp_dir": hdfs_tmp_dir,
    }
    answer.facts({"": installing.install(address, settings, python=python)})


def describe(
    name: words.NewCluster,
    address: Installation,
    *,
    hadoop_conf_dir: ConfDir = None,
    num_containers: Containers = None,
    container_size: ContainerSize = None,
    num_vcores: Vcores = None,
    start_port: FirstPort = 9100,
    end_port: LastPort = 9200,
    package: Packages = None,
    queue: Queue = None,
    node_label: NodeLabel = None,
    python: Interpreter = None,
    principal: Principal = None,
    keytab: Keytab = None,
    view_user: Viewers = None,
    tag: Tags = None,
    start_within: Patience = 300.0,
    min_containers: Fewest = None,
    max_restarts: words.MaxRestarts = 3,
    hang_timeout: words.HangTimeout = 600.0,
) -> None:
    """Describe a Hadoop cluster and keep the description by its name; what is not given comes from its installation."""
    from launch import hadoop_cluster

    cluster = hadoop_cluster.create(
        name,
        address,
        hadoop_conf_dir,
        num_containers,
        container_size,
        num_vcores,
        start_port,
        end_port,
        package,
        queue,
        node_label,
        python,
        principal=principal,
        keytab=keytab,
        view_users=view_user,
        tags=tag,
        start_within=start_within,
        min_containers=min_containers,
        max_restarts=max_restarts,
        hang_timeout=hang_timeout,
    )
    say(f"{cluster.name}: {cluster.num_workers} containers of {cluster.num_threads} vcores and {cluster.worker_memory} MB")
