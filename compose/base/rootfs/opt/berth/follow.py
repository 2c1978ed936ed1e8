"""Writes the lines of all logs of a folder to its output, each with its service's name.

What was written is remembered by file and place, so that whoever kills it loses no line, and
hears none twice.
"""

import glob
import json
import os
import sys
import time

PAUSE = 0.2
PIECE = 65536


def write(text):
    while text:
        text = text[os.write(1, text):]


class Log:
    """A log from where it was read last."""

    def __init__(self, path, place):
        self.name = os.path.basename(path)[: -len(".log")].encode()
        self.file = open(path, "rb")
        self.inode = os.fstat(self.file.fileno()).st_ino
        # Another file of the same name is read from its beginning.
        self.at = place[1] if place and place[0] == self.inode else 0

    def lines(self):
        """The next whole lines, none when there are none; a line without an end in pieces."""
        if os.fstat(self.file.fileno()).st_size < self.at:
            self.at = 0
        text = os.pread(self.file.fileno(), PIECE, self.at)
        end = text.rfind(b"\n") + 1
        if not end and len(text) == PIECE:
            text, end = text + b"\n", PIECE
        elif not end:
            return b""
        else:
            text = text[:end]
        self.at += end
        return b"".join(b"[%s] %s\n" % (self.name, line) for line in text[:-1].split(b"\n"))


def main(folder, memory):
    try:
        with open(memory, "rb") as kept:
            places = json.load(kept)
    except (OSError, ValueError):
        places = {}
    state = os.open(memory, os.O_RDWR | os.O_CREAT, 0o600)
    logs = {}
    while True:
        is_still = True
        for path in sorted(glob.glob(glob.escape(folder) + "/*.log")):
            try:
                if path in logs and os.stat(path).st_ino != logs[path].inode:
                    # It was put aside: first what is left of it.
                    while text := logs[path].lines():
                        write(text)
                    logs.pop(path).file.close()
                    places.pop(path, None)
                if path not in logs:
                    logs[path] = Log(path, places.get(path))
            except FileNotFoundError:
                continue
            log = logs[path]
            if text := log.lines():
                is_still = False
                write(text)
                places[path] = [log.inode, log.at]
                # One write: it is there as a whole, or as it was.
                kept = json.dumps(places).encode()
                os.pwrite(state, kept + b" " * max(0, os.fstat(state).st_size - len(kept)), 0)
        if is_still:
            time.sleep(PAUSE)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except (BrokenPipeError, KeyboardInterrupt):
        pass
