"""What an export or a benchmark says of its files: tables, plots, the model card."""
