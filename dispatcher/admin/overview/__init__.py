"""The overview: its page, and what it tells of the present, the last day and the next hour."""
