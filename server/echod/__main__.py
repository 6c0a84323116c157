"""The command `echod`: patch the standard library, parse the settings, run the daemon."""

# ruff: noqa: E402 — gevent patches before anything it patches is imported
from gevent import monkey

monkey.patch_all()

import logging
import sys

from echod import logs
from echod.config import ConfigError, parse
from echod.daemon import Daemon


def main() -> int:
    """Run one daemon; returns its exit status: 0, or 1 if it could not start."""
    config = parse(sys.argv[1:])
    logs.install()
    logging.basicConfig(
        stream=sys.stderr,
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        daemon = Daemon(config)
    except ConfigError as error:
        logging.getLogger("echod").error("can't start: %s", error)  # noqa: TRY400 — not a bug
        return 1
    return daemon.run()


if __name__ == "__main__":
    sys.exit(main())
