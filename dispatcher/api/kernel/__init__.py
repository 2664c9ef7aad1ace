"""What every view of the API is made of: a small framework on top of DRF."""
