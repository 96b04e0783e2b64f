"""pyinfra reads this before any inventory. From here on, we report a mistake in an inventory and a Ctrl-C in plain words."""

from pgberth.report.closing import install

install()
