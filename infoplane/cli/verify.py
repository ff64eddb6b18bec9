"""`infoplane verify`."""

from __future__ import annotations

import click

from infoplane.cli.options import CONTEXT, examples, talkative


@click.command(
    short_help="Check the estimator on this machine.",
    context_settings=CONTEXT,
    epilog=examples("infoplane verify", "infoplane verify --quiet && echo fine"),
)
@talkative
@click.pass_context
def verify(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Check the estimator on this machine against independent values and closed forms."""
    from infoplane.reporting import terminal as describe
    from infoplane.verify import checks, devices

    found = [check for device in devices() for check in checks(device)]
    missed = [check for check in found if not check.ok]
    click.echo(describe.checks(missed if quiet else found), nl=bool(missed) or not quiet)
    click.echo(f"{len(found) - len(missed)} of {len(found)} checks agree to 1e-9 bits on {', '.join(devices())}")
    ctx.exit(1 if missed else 0)
