"""pyinfra reads this before any inventory: from here on a slip in one, or a Ctrl-C, is told in our words."""

from pgberth.report.closing import install

install()
