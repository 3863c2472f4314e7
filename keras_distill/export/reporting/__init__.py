"""Results of an export or a benchmark: tables, plots, and the model card."""
