"""Where the decider finds and leaves its files. Each folder can be another one in tests."""

from dataclasses import dataclass
from pathlib import Path

from agentfleet.gateway import layout

JWT_SLOTS = 4
"""Public keys of tokens that HAProxy tries, as RUN_FOLDER/jwt-0.pem and so on: its configuration is written before
anybody has seen the Secret, so their number is fixed."""


@dataclass(frozen=True)
class Paths:
    """The folders of a gateway pod."""

    config: Path = Path(layout.CONFIG_FOLDER)
    run: Path = Path(layout.RUN_FOLDER)
    keys: Path = Path(layout.KEYS_FOLDER)
    jwt: Path = Path(layout.JWT_FOLDER)
    credentials: Path = Path(layout.CREDENTIALS_FOLDER)
    tls: Path = Path(layout.TLS_FOLDER)
    identity: Path = Path(layout.IDENTITY_FILE)
    budgets: Path = Path(layout.BUDGETS_FILE)

    @property
    def policy(self) -> Path:
        """The compiled policy."""
        return self.config / "route.json"

    @property
    def decider(self) -> Path:
        """DeciderConfig."""
        return self.config / "decider.json"

    @property
    def admin_socket(self) -> Path:
        """HAProxy's."""
        return self.run / Path(layout.ADMIN_SOCKET).name

    @property
    def audit_socket(self) -> Path:
        """Ours: HAProxy sends its audit lines there."""
        return self.run / "audit.sock"

    @property
    def keys_map(self) -> Path:
        """SHA-256 of an API key → client."""
        return self.run / Path(layout.KEYS_MAP).name

    @property
    def groups_map(self) -> Path:
        """Client → groups."""
        return self.run / Path(layout.GROUPS_MAP).name

    @property
    def credentials_map(self) -> Path:
        """Target → the key that is sent there."""
        return self.run / Path(layout.CREDENTIALS_MAP).name

    @property
    def budgets_map(self) -> Path:
        """What is spent."""
        return self.run / "budgets.map"

    @property
    def identity_map(self) -> Path:
        """The namespace's signing key, for HAProxy."""
        return self.run / "identity.map"

    @property
    def decider_map(self) -> Path:
        """What HAProxy knows the decider's calls by."""
        return self.run / "decider.map"

    @property
    def audited(self) -> Path:
        """How many audit lines deciders have taken, from one to the next."""
        return self.run / "audited.json"

    @property
    def certificate(self) -> Path:
        """The gateway's own, by the name under which HAProxy has loaded it."""
        return self.tls / "tls.crt"

    @property
    def private_key(self) -> Path:
        """That of the certificate."""
        return self.tls / "tls.crt.key"

    def jwt_slot(self, number: int) -> Path:
        """A public key of tokens, for HAProxy."""
        return self.run / f"jwt-{number}.pem"
