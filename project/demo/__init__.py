"""Example tasks for a first look (`make run`). A production system leaves this app out."""
