"""Frames, columns and graphs under the names and with the methods that users of GraphLab Create know; everything is done by the engine."""

from engine.turi.sarray import SArray
from engine.turi.sframe import SFrame, load_sframe
from engine.turi.sgraph import Edge, SGraph, Vertex, load_sgraph

__all__ = ["Edge", "SArray", "SFrame", "SGraph", "Vertex", "load_sframe", "load_sgraph"]
