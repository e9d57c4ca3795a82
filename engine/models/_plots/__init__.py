"""Plots of models by matplotlib, which is loaded when one is asked for."""
