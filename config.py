"""pyinfra reads this before any inventory. From here on, mistakes in one and a Ctrl-C are reported in plain words."""

from pgberth.report.closing import install

install()
