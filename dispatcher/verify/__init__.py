"""Verify: every slot that there should have been, against the runs that there are."""

from dispatcher.verify.report import Report, verify

__all__ = ["Report", "verify"]
