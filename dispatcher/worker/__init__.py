"""What happens in a worker, from the claim to the end of an attempt.

It imports nothing here: `installation` is needed before Django's models are ready."""
