# SPDX-License-Identifier: Apache-2.0
"""The command `penstock`, also as `python3 -m penstock`."""

import argparse
import sys

from penstock import __version__, doctor, top


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="penstock", description="Looks at Penstock: a running node, or this machine.")
    parser.add_argument("--version", action="version", version=f"penstock {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module, about in (
            ("top", top, "channels and worker links of a running process, live"),
            ("doctor", doctor, "whether this machine has what Penstock needs")):
        command = commands.add_parser(name, help=about)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    chosen = parser.parse_args(arguments)
    status: int = chosen.run(chosen)
    return status


if __name__ == "__main__":
    sys.exit(main())
