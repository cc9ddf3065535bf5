"""Values of DNS checks: names, types, codes. Each raises ValueError with a sentence."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

META = {"ANY", "AXFR", "IXFR", "OPT", "TSIG", "TKEY", "MAILA", "MAILB", "NONE", "TYPE0"}
"""What is no record, or no answer that a check could bound."""


def name(text: str) -> str:
    """A domain name, fully qualified with or without its last dot."""
    if not text.isprintable():
        raise ValueError("is no domain name: it has characters that do not print")
    try:
        dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"is no domain name: {error}") from None
    return text


def record_type(text: str) -> str:
    """A type of records: "A", "AAAA", "SOA", "TYPE65280"."""
    try:
        known = dns.rdatatype.to_text(dns.rdatatype.from_text(text))
    except (dns.exception.DNSException, ValueError):
        raise ValueError('write a type of records such as "A", "AAAA", "SOA"') from None
    if known in META:
        raise ValueError(f"{known} is no type of records that a check could ask for")
    return known


def rcode(text: str) -> str:
    """A response code: "NOERROR", "NXDOMAIN", "REFUSED"."""
    try:
        return dns.rcode.to_text(dns.rcode.from_text(text))
    except (dns.exception.DNSException, ValueError):
        raise ValueError('write a response code such as "NOERROR", "NXDOMAIN", "REFUSED"') from None


def record(kind: str, text: str) -> dns.rdata.Rdata:
    """One record's data, as in a zone file."""
    try:
        return dns.rdata.from_text(
            dns.rdataclass.IN, dns.rdatatype.from_text(kind), text, dns.name.root, False
        )
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"is no data of a record of type {kind}: {error or 'malformed'}") from None
