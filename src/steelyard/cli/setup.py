"""``steelyard setup``: bring the local model's weights to this machine, checked by digest."""

from __future__ import annotations

import argparse

from steelyard.cli import arguments as args


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "setup",
        execute,
        summary="bring the local model's weights, or say what this machine lacks",
        example="steelyard setup smollm2-135m-q4_0",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: smollm2-135m")
    parser.add_argument("--check", action="store_true", help="only say what is here and what is missing; exit 4 if so")


def execute(parsed: argparse.Namespace) -> int:
    """Bring what is missing, and say where everything is."""
    from steelyard.errors import EnvironmentFault
    from steelyard.providers import weights
    from steelyard.providers.llamacpp import runtime_version

    faults = []
    for name in parsed.models or [weights.SOURCE]:
        try:
            found = weights.find(name) if parsed.check else weights.bring(name)
            print(f"local/{name}: {found.path} (sha256 {found.sha256[:12]})")
        except EnvironmentFault as fault:
            faults.append(str(fault))
    try:
        print(f"llama.cpp: xllamacpp {runtime_version()}")
    except EnvironmentFault as fault:
        faults.append(str(fault))
    for text in faults:
        print(text)
    return EnvironmentFault.exit_code if faults else 0
