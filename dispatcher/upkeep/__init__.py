"""Repair and retention: lost runs, old rows, and mails to owners."""
