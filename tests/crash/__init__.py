"""The crash matrix: a deploy dies at each of its steps, in each way there is, and the next one finishes it."""

VARIABLE = "PGBERTH_CRASH"  # tells tests.crash.hook what to do, as JSON
PORTS = "PORTS"  # in a command it runs: the local ports of its connections, joined by commas
