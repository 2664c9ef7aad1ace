"""Plan: which slots become runs. Database only."""
