"""Programs other than Keras that run the files, each in a process of its own."""
