"""What all trainings of the recipe share."""
