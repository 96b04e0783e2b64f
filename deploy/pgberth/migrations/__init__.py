"""
The schemas of a tenant's components: a runner takes each component to its version, or back.

A component is a directory of `templates/sql/`. A numbered version has an up, a down and a verify script. A repeatable
(functions, triggers, grants) runs again whenever its text changes or a version was applied. The database's own ledger
records what was done, with both hashes, the body and the parameters; the runner continues that history or refuses.

    source    files -> Migration values: checked, rendered, hashed (`rules`: what a file may contain)
    ledger    the events, and heads_script, which prints where every version stands
    plan      Migration values and heads -> what to do, or why it is refused; pure
    runner    apply, revert, run_code: one locked session (`session`), step by step (`step`, `indexes`)
    verify    one query that finds what is no longer as its migration left it
    repair    restores what holds no data

Stages: a version behind a gate (`-- pgberth: gate=dimension`) waits until the parameter has a value, from the tenant or
from a code step such as register_model, which records it in the same ledger. Waiting is not an error; the outcome names
what is missing. A version that builds on a gated version has the same gate. Other versions do not wait, so a gated
version may be applied after one with a higher number. `rules` lists the directives.
"""
