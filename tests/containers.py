"""Running something inside a container, with all of its output."""

import subprocess

from docker.models.containers import Container


def run_inside(container: Container, command: str, user: str = "root") -> tuple[int, str]:
    """Exit status and output, both streams together, of a Bash line.

    Through Docker's own client, because ``exec_run`` of docker-py loses output: it reads the head of the answer through
    a buffer and what follows from under it, so that what arrives together with the head is gone. A busy machine is slow
    enough for that.
    """
    line = ["docker", "exec", "--user", user, str(container.id), "bash", "-c", command]
    ran = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return ran.returncode, ran.stdout.decode()
