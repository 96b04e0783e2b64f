"""
The channel of a command: its text passes any login shell unchanged, and only its own output is read.

A login speaks too: a .bashrc, sudo, a message of the day, on both streams. So a command's output is marked where it
begins and where it ends. What stands before the first mark is kept for diagnosis only; what stands after the second is
not read.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from typing import Any

from pyinfra.api import QuoteString, StringCommand
from pyinfra.connectors.util import CommandOutput, make_unix_command, read_output_buffers

from pgberth.commands import script

CHUNK = 32_768  # bytes

_TOKEN = secrets.token_hex(12)  # of this run; nobody else can print it
BEGIN, END = (f"\x1epgberth:{which}:{_TOKEN}\x1f".encode() for which in ("begin", "end"))
_WORD = 1000 // 20  # characters; each takes 20 bytes at most
# Arguments that pyinfra gives to the connector, for the command itself, and to become another account for it.
_FOR_COMMAND = ("_env", "_chdir")
_FOR_CONNECTOR = ("_stdin", "_timeout", "_get_pty", "_success_exit_codes", "_shell_executable")
_BECOMING = ("_sudo", "_su_user", "_doas", "_dzdo")
_KEPT = 4096  # bytes of what was printed before the command's own output


def framed(command: StringCommand) -> StringCommand:
    """
    The command with the marks around its output, as text for a POSIX shell.

    The command stands in a here-document, since every quoting triples its single quotes, and Linux takes no argument
    of 128 KiB.
    """
    end = f"pgberth-{_TOKEN}"
    return StringCommand(
        f"set -- {_TOKEN} \"$(cat <<'{end}'\n", command, f'\n{end}\n)"\n{script("common/frame.sh")}', _separator=""
    )


def in_own_environment(command: StringCommand) -> StringCommand:
    """The command with nothing of the login's environment but its home and its proxies."""
    text = script("common/own-environment.sh")
    return StringCommand("/bin/sh -c", QuoteString(text), "pgberth", QuoteString(command))


def line_for_login(command: StringCommand, **arguments: Any) -> str:
    """
    The line that sshd gives to a login's shell: it runs the command between marks.

    + arguments: pyinfra's, such as _sudo
    """
    inside = {name: arguments[name] for name in _FOR_COMMAND if name in arguments}
    outside = {name: value for name, value in arguments.items() if name not in (*_FOR_COMMAND, *_FOR_CONNECTOR)}
    frame = framed(make_unix_command(command, _shell_executable=None, **inside))
    if any(outside.get(name) for name in _BECOMING):
        becoming = make_unix_command(frame, _shell_executable="/bin/sh", **outside)
        frame = StringCommand("LC_ALL=C; export LC_ALL; exec", becoming)  # the answer of a sudo that refuses is read
    return for_any_shell(frame.get_raw_value())


def for_any_shell(text: str) -> str:
    """
    A line that runs a POSIX shell's text under any login shell: sh, bash, zsh, csh, tcsh, fish.

    sshd gives every command to the account's login shell, and no two of these agree on newlines, `!`, `'` and `\\`
    between single quotes. So all but plain characters travel as octal escapes, which printf undoes; and in several
    words, since csh takes none of more than 1023 bytes.
    """
    escaped = [_escaped(character) for character in text]
    words = ("".join(escaped[start : start + _WORD]) for start in range(0, len(escaped), _WORD))
    return " ".join(['exec /bin/sh -c \'eval "$(printf %b "$@")"\' pgberth', *(f"'{word}'" for word in words)])


def _escaped(character: str) -> str:
    if character.isascii() and character.isprintable() and character not in "\\'!":
        return character
    return "".join(f"\\0{byte:03o}" for byte in character.encode())


class Output:
    """
    What a command itself prints on one stream.

    + receive: the next bytes of the stream, at most as many as asked for; b"" at its end

    + before: the last of what others printed before it
    + begun: whether the command's own output has begun
    """

    def __init__(self, receive: Callable[[int], bytes]):
        self.before = b""
        self.begun = False
        self._ended = False
        self._receive = receive
        self._unsorted = b""  # may be the first bytes of a mark
        self._own = b""

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes of its own, at most `size`, as soon as there are any; b"" at their end."""
        while not self._own and not self._ended:
            chunk = self._receive(CHUNK)
            if chunk:
                self._sort(chunk)
            else:
                self._close()
        read, self._own = self._own[:size], self._own[size:]
        return read

    def lines(self) -> io.TextIOWrapper:
        """Its lines, as UTF-8; other bytes are replaced."""
        return io.TextIOWrapper(io.BufferedReader(_Raw(self), CHUNK), encoding="utf-8", errors="replace", newline="\n")

    def _sort(self, chunk: bytes) -> None:
        unsorted = self._unsorted + chunk
        if not self.begun:
            before, mark, rest = unsorted.partition(BEGIN)
            if not mark:
                kept = _start_of(BEGIN, before)
                self._set_before(before[: len(before) - kept])
                self._unsorted = before[len(before) - kept :]
                return
            self._set_before(before)
            self.begun, unsorted = True, rest
        own, mark, _ = unsorted.partition(END)
        kept = 0 if mark else _start_of(END, own)
        self._own, self._unsorted = own[: len(own) - kept], own[len(own) - kept :]
        self._ended = bool(mark)

    def _close(self) -> None:
        """The stream has ended without a mark: the command was killed, or never began."""
        self._ended = True
        if self.begun:
            self._own = self._unsorted
        else:
            self._set_before(self._unsorted)

    def _set_before(self, more: bytes) -> None:
        self.before = (self.before + more)[-_KEPT:]


class Bridge:
    """A session whose command passes on what it gets: as a connection, of what the command itself prints."""

    def __init__(self, session: Any):
        self._session = session
        self.recv = Output(session.recv).read
        self.sendall, self.shutdown, self.close = session.sendall, session.shutdown, session.close


class _Raw(io.RawIOBase):
    """An Output as Python's own readers want it."""

    def __init__(self, output: Output):
        super().__init__()
        self._output = output

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        read = self._output.read(len(target))
        target[: len(read)] = read
        return len(read)


def _start_of(mark: bytes, text: bytes) -> int:
    """How many of the last bytes of the text may be the first of the mark."""
    at = text.rfind(mark[:1], max(0, len(text) - len(mark) + 1))
    return len(text) - at if at >= 0 and mark.startswith(text[at:]) else 0


def read_output(out: Output, err: Output, *, timeout: int | None, shown: bool, prefix: str) -> CommandOutput:
    """
    All that a command prints, until its end.

    + shown: print each line as it comes, after the prefix

    Raises TimeoutError after `timeout` seconds.
    """
    return read_output_buffers(out.lines(), err.lines(), timeout=timeout, print_output=shown, print_prefix=prefix)


def said_before(*outputs: Output) -> list[str]:
    """The lines that others printed before the command's own output."""
    text = "\n".join(output.before.decode(errors="replace") for output in outputs)
    return [line.strip() for line in text.splitlines() if line.strip()]
