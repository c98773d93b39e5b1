"""What is measured of the trained models, on splits that no training saw."""
