"""``steelyard mock``: an endpoint with known delays, faults and prices, for dry runs and for tests."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.instrument.settings import Settings
    from steelyard.types import Price

EXAMPLE = "steelyard mock --port 8000 --ttft-ms 200 --itl-ms 20 --fault 429=0.05 --fault cut=0.01"


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs, "mock", execute, summary="serve an endpoint with known delays, faults and prices", example=EXAMPLE
    )
    parser.add_argument("--port", type=int, default=0, metavar="P", help="default: a free one; the URL is printed")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine only)")
    parser.add_argument("--ttft-ms", type=float, default=0.0, metavar="N", help="from the request to the first token")
    parser.add_argument("--itl-ms", type=float, default=0.0, metavar="N", help="from one token to the next")
    parser.add_argument("--first-byte-ms", type=float, default=0.0, metavar="N", help="from the request to the headers")
    parser.add_argument("--tokens", type=int, default=32, metavar="N", help="tokens of an answer (default 32)")
    parser.add_argument("--reasoning-tokens", type=int, default=0, metavar="N", help="tokens of reasoning before it")
    parser.add_argument("--tokens-per-chunk", type=int, default=1, metavar="N", help="tokens that go out together")
    parser.add_argument(
        "--jitter", type=float, default=0.0, metavar="SHARE", help="each gap varies by up to this share"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of words, faults and jitter (default 0)")
    parser.add_argument(
        "--fault",
        dest="faults",
        action="append",
        default=[],
        metavar="KIND=SHARE",
        help="a share of the requests goes wrong; may be repeated; --list-faults names the kinds",
    )
    parser.add_argument("--list-faults", action="store_true", help="print the kinds of faults")
    parser.add_argument("--retry-after-s", type=float, default=1.0, metavar="N", help="what a 429 asks for (default 1)")
    parser.add_argument("--slow-ms", type=float, default=1000.0, metavar="N", help="how slow slow-headers is")
    parser.add_argument("--huge-mb", type=int, default=100, metavar="N", help="how huge a huge reply is")
    parser.add_argument("--rate-limit", type=args.count, metavar="N", help="requests a minute; beyond it 429")
    parser.add_argument("--tpm", type=args.count, metavar="N", help="tokens a minute; beyond it 429")
    parser.add_argument("--cached-share", type=float, default=0.0, metavar="SHARE", help="of the input, as cached")
    parser.add_argument("--price", metavar="IN/OUT", help="USD per million tokens, for /stats and /v1/models")
    parser.add_argument("--answers", metavar="FILE", help='JSON lines {"prompt": a part of it, "completion": text}')


def execute(parsed: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if parsed.list_faults:
        return _list_faults()
    from steelyard.instrument.process import serve

    serve(_settings(parsed))
    return 0


def _settings(parsed: argparse.Namespace) -> Settings:
    from steelyard.instrument.settings import Settings, checked

    return checked(
        Settings(
            host=parsed.host,
            port=parsed.port,
            first_byte_ms=parsed.first_byte_ms,
            ttft_ms=parsed.ttft_ms,
            itl_ms=parsed.itl_ms,
            tokens=parsed.tokens,
            tokens_per_chunk=parsed.tokens_per_chunk,
            reasoning_tokens=parsed.reasoning_tokens,
            jitter=parsed.jitter,
            seed=parsed.seed,
            faults=dict(map(_share, parsed.faults)),
            retry_after_s=parsed.retry_after_s,
            slow_ms=parsed.slow_ms,
            huge_bytes=parsed.huge_mb << 20,
            rate_limit=parsed.rate_limit,
            token_limit=parsed.tpm,
            cached_share=parsed.cached_share,
            price=_price(parsed.price),
            answers=parsed.answers,
        )
    )


def _share(text: str) -> tuple[str, float]:
    from steelyard.errors import UsageError

    name, _, share = text.partition("=")
    try:
        return name, float(share or 1)
    except ValueError as error:
        raise UsageError(f"--fault {text}: {share!r} is no number. Try: --fault {name}=0.1") from error


def _price(text: str | None) -> Price | None:
    from steelyard.errors import UsageError
    from steelyard.types import Price

    if text is None:
        return None
    try:
        price_in, price_out = map(float, text.split("/"))
    except ValueError as error:
        raise UsageError(f"--price {text}: expected IN/OUT, such as 0.15/0.60") from error
    return Price(input=price_in, output=price_out)


def _list_faults() -> int:
    from steelyard.instrument.settings import FAULTS

    for name, meaning in FAULTS.items():
        print(f"{name:16}{meaning}")
    return 0
