"""What the Lua handler may do with mail. The folder takes the place of an SMTP server."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

SENDER = "hello@example.com"


@dataclass(frozen=True)
class Outbox:
    """A folder with a file for each mail; any number of processes may write to it."""

    folder: Path

    def send(self, mail_id: str, to: str, subject: str, text: str) -> bool:
        """Writes one mail; a second one with the same ID takes the place of the first."""
        mail = EmailMessage()
        mail["Message-ID"] = f"<{mail_id}@example.com>"
        mail["From"], mail["To"], mail["Subject"] = SENDER, to, subject
        mail.set_content(text)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: who reads the folder never meets half a mail.
        half = self.folder / f".{mail_id}"
        half.write_bytes(bytes(mail))
        half.rename(self.folder / f"{mail_id}.eml")
        return True
