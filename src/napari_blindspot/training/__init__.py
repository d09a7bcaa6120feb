"""From a stack to a trained network: crops, steps, checks, students."""
