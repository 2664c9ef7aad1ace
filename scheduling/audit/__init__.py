"""What the audit trail says: which rule was in force when, and what changed, in words."""

from scheduling.audit.terms import Entry, Term, expected, explains, term_of

__all__ = ["Entry", "Term", "expected", "explains", "term_of"]
