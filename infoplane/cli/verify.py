"""`infoplane verify`."""

from __future__ import annotations

import click

from infoplane.cli.options import examples, loading, talkative, verb
from infoplane.cli.output import say


@verb(
    short_help="Check the estimator on this machine.",
    epilog=examples("infoplane verify", "infoplane verify --quiet && echo fine"),
)
@talkative
@click.pass_context
def verify(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Check the estimator on this machine against independent values and closed forms."""
    with loading(quiet):
        from infoplane.reporting import terminal as describe
        from infoplane.verify import checks, devices

    made = [check for device in devices() for check in checks(device)]
    missed = [check for check in made if not check.ok]
    say(describe.checks(missed if quiet else made), nl=bool(missed) or not quiet)
    say(f"{len(made) - len(missed)} of {len(made)} checks agree to 1e-9 bits on {', '.join(devices())}")
    ctx.exit(1 if missed else 0)
