"""Figures, pictures, SVG and numbers for readers. Nothing in this room knows about runs or reports."""
