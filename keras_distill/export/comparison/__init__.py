"""How close a file is to its student: by what an output means, unit by unit and class by class."""
