"""Publish: runs become messages. Broker only."""
