"""Replaces personal data and secrets in a text by harmless placeholders, and counts them."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from functools import cache

import phonenumbers
from detect_secrets.plugins import (
    aws,
    azure_storage_key,
    discord,
    github_token,
    gitlab_token,
    jwt,
    mailchimp,
    npm,
    openai,
    private_key,
    pypi_token,
    sendgrid,
    slack,
    square_oauth,
    stripe,
    telegram_token,
    twilio,
)

EMAIL, PHONE, ADDRESS, SECRET = "email@example.com", "+1 555 0100", "192.0.2.1", "[secret]"
_RESERVED_DOMAINS = (
    "example.com",
    "example.org",
    "example.net",
    "localhost",
    ".example",
    ".test",
    ".invalid",
)
_EMAIL = re.compile(
    r"(?<![\w.+%/-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@-])"
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}(?![\w:])")
_MAYBE_PHONE = re.compile(r"\+?\(?\d(?:[\d\s().\-/]{6,18})\d")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_DETECTORS = (
    aws.AWSKeyDetector,
    azure_storage_key.AzureStorageKeyDetector,
    discord.DiscordBotTokenDetector,
    github_token.GitHubTokenDetector,
    gitlab_token.GitLabTokenDetector,
    jwt.JwtTokenDetector,
    mailchimp.MailchimpDetector,
    npm.NpmDetector,
    openai.OpenAIDetector,
    private_key.PrivateKeyDetector,
    pypi_token.PypiTokenDetector,
    sendgrid.SendGridDetector,
    slack.SlackDetector,
    square_oauth.SquareOAuthDetector,
    stripe.StripeDetector,
    telegram_token.TelegramBotTokenDetector,
    twilio.TwilioKeyDetector,
)

# A text with personal data or secrets matches one of these. They are checked first because they are
# fast and nearly no text matches: substrings with `in`, and short patterns with `re`.
_SECRET_HINTS = (
    "AKIA",
    "ASIA",
    "A3T",
    "ABIA",
    "ACCA",
    "AccountKey",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "eyJ",
    "-us",
    "npm",
    "sk-",
    "PRIVATE KEY",
    "pypi-",
    "SG.",
    "xox",
    "hooks.slack",
    "sq0csp",
    "sk_live",
    "rk_live",
)
_SECRET_SHAPES = tuple(
    re.compile(p)
    for p in (r"gl\w+-", r"\d{8,10}:[\w-]{35}", r"[AS][CK][0-9a-z]{32}", r"[MNO][\w-]{23}\.")
)
_MAYBE_IPV4 = re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d")
_MAYBE_IPV6 = re.compile(r":[0-9A-Fa-f]{0,4}:")
_MANY_DIGITS = re.compile(r"\d[\d\s().\-/]{6,18}\d")


@cache
def _secret_patterns() -> tuple[re.Pattern[str], ...]:
    """The patterns of well-known keys, from detect-secrets."""
    return tuple(pattern for detector in _DETECTORS for pattern in detector.denylist)


def _is_reserved(email: str) -> bool:
    domain = email.rsplit("@", 1)[1].lower()
    return domain.endswith(_RESERVED_DOMAINS)


def _is_public(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _mask_phones(text: str) -> tuple[str, int]:
    """Replace telephone numbers in international or North American form."""
    if not _MANY_DIGITS.search(text):
        return text, 0
    parts, end, count = [], 0, 0
    for candidate in _MAYBE_PHONE.finditer(text):
        if candidate.start() < end or not _is_phone(candidate.group()):
            continue
        parts += [text[end : candidate.start()], PHONE]
        end, count = candidate.end(), count + 1
    return "".join([*parts, text[end:]]), count


def _is_phone(text: str) -> bool:
    """Whether a run of digits is a valid telephone number, and not a date or a plain number."""
    digits = sum(c.isdigit() for c in text)
    if not 9 <= digits <= 15 or "\n" in text or re.fullmatch(r"[\d]+|[\d.]+|\d{4}[-/]\d.*", text):
        return False
    try:
        number = phonenumbers.parse(text, None if text.startswith("+") else "US")
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number(number))


def _may_hold_secrets(text: str) -> bool:
    return (
        any(hint in text for hint in _SECRET_HINTS)
        or any(shape.search(text) for shape in _SECRET_SHAPES)
        or "aws" in text.lower()
    )


def _mask_secrets(text: str) -> tuple[str, int]:
    if not _may_hold_secrets(text):
        return text, 0
    text, count = _PRIVATE_KEY.subn(SECRET, text)
    for pattern in _secret_patterns():
        text, num_replaced = pattern.subn(SECRET, text)
        count += num_replaced
    return text, count


def mask(text: str) -> tuple[str, dict[str, int]]:
    """(masked text, number of replacements by kind).

    E-mail addresses, public IP addresses, telephone numbers and secrets are replaced.
    """
    counts: Counter[str] = Counter()

    def email(match: re.Match[str]) -> str:
        if _is_reserved(match.group()):
            return match.group()
        counts["email"] += 1
        return EMAIL

    def address(match: re.Match[str]) -> str:
        if not _is_public(match.group()):
            return match.group()
        counts["address"] += 1
        return ADDRESS

    text, secrets = _mask_secrets(text)
    if "@" in text:
        text = _EMAIL.sub(email, text)
    if _MAYBE_IPV4.search(text):
        text = _IPV4.sub(address, text)
    if _MAYBE_IPV6.search(text):
        text = _IPV6.sub(address, text)
    text, phones = _mask_phones(text)
    return text, {k: v for k, v in {**counts, "phone": phones, "secret": secrets}.items() if v}
