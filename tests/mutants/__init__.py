"""Mutation testing of the hot and crash-critical modules: does the suite notice a careless change?

    make mutants                              a sample, another one each day
    make mutants ARGS="--number 400 --seed 7" a larger one
    make mutants ARGS="--all --only plan"     every change of the modules whose path has "plan"

Each mutant is one small change of one module, made in a copy of the tree. It is noticed if a test
fails. First run the tests that concern its module, then those beside them that need no process of
their own. A survivor is either explained in `explained.toml` (the change alters nothing,
or a second line of defence stands behind it) or a gap in the suite.

Written here, and not taken from mutmut or cosmic-ray: a mutant of theirs costs the start of an
interpreter, of Django and of two servers, 8 s; here a process that has all of it forks, 1 s. And
they know no ORM: a filter that is dropped from a chain, a `with atomic()`, a row lock.
"""
