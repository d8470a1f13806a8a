"""A RabbitMQ of one's own: on free ports, in a temporary folder, ended by its process ID."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.drivers.ports import free_port

BIN = Path("/usr/lib/rabbitmq/bin")
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class RabbitMQ:
    """One broker, which can be stopped, killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        (folder / "plugins").write_text("[].\n")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "HOSTNAME": "localhost",
            "RABBITMQ_NODENAME": f"wippy{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
            ),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Starts the broker and waits until it answers."""
        # A session of its own: the server is a shell script with the real one below it.
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [BIN / "rabbitmq-server"],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "out").read_text())
            time.sleep(0.1)

    def stop(self) -> None:
        """Stops the broker as an operator does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the broker at once, as a power cut does."""
        self._end(signal.SIGKILL)

    def end(self) -> None:
        """Stops the broker, and the port mapper that Erlang leaves behind."""
        self.stop()
        subprocess.run(
            ["epmd", "-kill"], env=self._environment, capture_output=True, timeout=10, check=False
        )

    def control(self, *arguments: str) -> str:
        """Runs rabbitmqctl and returns what it prints."""
        done = subprocess.run(
            [BIN / "rabbitmqctl", "--quiet", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, number)
        process.wait(STOP_SECONDS)
