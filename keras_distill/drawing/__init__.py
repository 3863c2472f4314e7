"""Plots, pictures, SVG and numbers for readers. Nothing here knows what a run or a report is."""
