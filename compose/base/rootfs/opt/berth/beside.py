#!/usr/bin/python3
"""Runs a command beside the services: beside.py RUN [COMMAND...]

The command gets the signals that the container gets. When it ends, the services are
stopped and its exit code is the container's. supervisord is started again should it die.
Without a command the services alone are run. Where mounts are awaited (RUN/awaited), the
command starts once they are there, so that nothing is written below them.
"""

import os
import signal
import subprocess
import sys
import time

FORWARDED = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"]
UNAVAILABLE, NOT_EXECUTABLE, NOT_FOUND = 69, 126, 127


class Ended(Exception):
    """A signal to end came before the command was started."""


def say(text):
    print(f"init: {text}", file=sys.stderr, flush=True)


def free():
    """What is started begins with no signal held back, as the first program does."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def start_services(run):
    command = ["/usr/bin/supervisord", "-n", "-c", f"{run}/supervisord.conf"]
    return subprocess.Popen(command, preexec_fn=free)


def stop_services(services):
    if services.poll() is None:
        services.terminate()
        try:
            services.wait(timeout=35)
        except subprocess.TimeoutExpired:
            services.kill()


def awaited(run):
    try:
        with open(f"{run}/awaited", encoding="utf-8") as lines:
            return [line.strip() for line in lines]
    except FileNotFoundError:
        return []


def wait_for_mounts(targets):
    """Whether all are mounted in time."""
    end = time.monotonic() + float(os.environ.get("REMOTE_WAIT", "60"))
    while targets := [target for target in targets if not os.path.ismount(target)]:
        if end < time.monotonic():
            say(f"error: {', '.join(targets)} is not mounted in time (REMOTE_WAIT); the log of rclone says why")
            return False
        time.sleep(0.1)
    return True


def run_command(command):
    """The command, and what became of it when it could not even be started."""
    try:
        return subprocess.Popen(command, restore_signals=True, preexec_fn=free), 0
    except FileNotFoundError:
        say(f"error: there is no program `{command[0]}`")
        return None, NOT_FOUND
    except OSError as error:
        say(f"error: `{command[0]}` can't be run: {error.strerror}")
        return None, NOT_EXECUTABLE


def watch(run, services, app):
    """Until the command ends: its exit code."""
    while True:
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status) if hasattr(os, "waitstatus_to_exitcode") else (
            os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status))
        if app is not None and pid == app.pid:
            app.returncode = code
            return services, code if code >= 0 else 128 - code
        if pid == services.pid:
            services.returncode = code
            if app is None:
                return services, 0 if code >= 0 else 128 - code
            say("supervisord ended, it is started again")
            time.sleep(1)
            services = start_services(run)


def forward(target, number):
    """A signal for a process that has not been waited for: who has ended is left to watch()."""
    if target.returncode is None:
        try:
            os.kill(target.pid, number)
        except ProcessLookupError:
            pass


def main():
    run, command = sys.argv[1], sys.argv[2:]

    def end(_number, _frame):
        raise Ended

    # Signals wait while something is started, until they can be passed on.
    numbers = [getattr(signal, name) for name in FORWARDED]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in [signal.SIGTERM, signal.SIGINT]:
        signal.signal(number, end)
    services = start_services(run)
    app, code = None, UNAVAILABLE
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if wait_for_mounts(awaited(run)):
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
            if command:
                app, code = run_command(command)
            target = app or services
            for number in numbers:
                signal.signal(number, lambda number, _: forward(target, number))
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if app or not command:
                services, code = watch(run, services, app)
    except Ended:
        code = 128 + signal.SIGTERM
    stop_services(services)
    return code


sys.exit(main())
