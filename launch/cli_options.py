"""The words of the command line: every argument and option once, with its help. Toolkits know the defaults and check the ranges."""

from __future__ import annotations

from typing import Annotated

import typer

_DATA = "Data"
_MODEL = "Model"
_RUN = "Run"

DataPaths = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help="CSV, Parquet or Arrow IPC: files, globs, folders or http(s):// addresses, in row order."),
]
ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="The folder of a saved model.")]

Format = Annotated[
    str | None, typer.Option(help="csv, parquet or arrow. Default: by extension.", rich_help_panel=_DATA, show_default=False)
]
Delimiter = Annotated[str, typer.Option(help="The character between CSV fields.", rich_help_panel=_DATA)]
Header = Annotated[
    bool, typer.Option("--header/--no-header", help="Whether the first line of a CSV file names its columns.", rich_help_panel=_DATA)
]
NullValues = Annotated[
    list[str] | None,
    typer.Option(
        "--null-value", help="CSV text that means missing; may be repeated. Default: nothing, NA and null.", rich_help_panel=_DATA
    ),
]
ColumnTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--column-type", metavar="NAME=TYPE", help="The type of a CSV column, as zip=string; may be repeated.", rich_help_panel=_DATA
    ),
]

Target = Annotated[str, typer.Option(help="The column to learn.", rich_help_panel=_MODEL)]
Features = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B,...", help="The columns to learn from; may be repeated. Default: all but the target.", rich_help_panel=_MODEL
    ),
]
MaxIterations = Annotated[
    int | None, typer.Option(help="Trees, for each class if there are three or more [1 or more; default 10].", rich_help_panel=_MODEL)
]
MaxDepth = Annotated[int | None, typer.Option(help="Splits from the root to a leaf [1 to 64; default 6].", rich_help_panel=_MODEL)]
StepSize = Annotated[
    float | None, typer.Option(help="How much of each tree is added to the model [0 to 1; default 0.3].", rich_help_panel=_MODEL)
]
MinLossReduction = Annotated[
    float | None, typer.Option(help="Splits that gain less are taken back [0 or more; default 0].", rich_help_panel=_MODEL)
]
MinChildWeight = Annotated[
    float | None, typer.Option(help="Sum of hessians that a leaf needs [0 or more; default 0.1].", rich_help_panel=_MODEL)
]
MaxBins = Annotated[
    int | None, typer.Option(help="Intervals into which a number's range is cut [2 to 65535; default 256].", rich_help_panel=_MODEL)
]
RandomSeed = Annotated[int | None, typer.Option(help="Seed of all that is drawn [0 or more; default 0].", rich_help_panel=_MODEL)]

ModelOutput = Annotated[str, typer.Option("--output", "-o", help="The folder to save the model in.", rich_help_panel=_RUN)]
PredictionsOutput = Annotated[str, typer.Option("--output", "-o", help="The file to write, .csv or .parquet.", rich_help_panel=_RUN)]
MetricsOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", help="A .json file for the metrics, with the ROC curve.", rich_help_panel=_RUN, show_default=False),
]
OutputType = Annotated[
    str | None,
    typer.Option(
        help="class, probability, margin or probability_vector. Default: class; regression has values only.", rich_help_panel=_RUN
    ),
]
NumThreads = Annotated[
    int | None, typer.Option(help="Threads of each rank [1 or more; default: cores of the node / its ranks].", rich_help_panel=_RUN)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.", rich_help_panel=_RUN)]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_RUN)]
