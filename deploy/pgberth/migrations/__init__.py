"""
The schemas of a tenant's components, brought to their versions and back by a runner that cannot be fooled.

A component is a directory of `templates/sql/`: numbered up, down and verify twins, and repeatable files (functions,
triggers, grants) that are run again whenever their text changes or a version goes before them. What was done is in the
database's own ledger, with both hashes, the body and the parameters; the runner continues that history or refuses.

    source    files -> Migration values: found, checked, rendered, hashed (`rules`: what a file may say)
    ledger    the events, and heads_script, which prints where every version stands
    plan      Migration values and heads -> what to do, or why not; pure
    runner    apply, revert, run_code: one locked session (`session`), one step after the other (`step`, `indexes`)
    verify    one query that finds whatever is no longer as its migration left it
    repair    puts back what holds no data

Stages: a version behind a gate (`-- pgberth: gate=dimension`) waits until the parameter has a value, from the tenant or
from a code step such as register_model, which records it in the same ledger. Waiting is no error: the outcome names it.
A version that builds on a gated one has the same gate; others are not held up, so a gated version may come later than
one with a higher number. The directives are listed in `rules`.
"""
