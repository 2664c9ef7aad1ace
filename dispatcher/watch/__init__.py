"""What is told of the scheduler: figures, metrics, health, and what is wrong."""
