"""Replies to mails. A real one would put them into the drafts of the mailbox; sending is a person's."""

import hashlib


def draft_reply(subject: str, body: str, language: str = "en") -> dict[str, str]:
    """Drafts a reply to the mail.

    Args:
        subject: Its subject.
        body: Its text, without a greeting.
        language: Its language, as en.
    """
    number = hashlib.sha256(f"{subject}\n{body}".encode()).hexdigest()[:8]
    return {"draft": f"draft-{number}", "subject": f"Re: {subject}", "language": language}
