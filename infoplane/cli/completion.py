"""`infoplane completion`."""

from __future__ import annotations

import click

from infoplane.cli.options import examples, verb
from infoplane.cli.output import say


@verb(
    short_help="Print the completion script of a shell.",
    epilog=examples(
        'eval "$(infoplane completion bash)"            # in ~/.bashrc',
        'eval "$(infoplane completion zsh)"             # in ~/.zshrc',
        "infoplane completion fish > ~/.config/fish/completions/infoplane.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    say(kind(click.get_current_context().find_root().command, {}, "infoplane", "_INFOPLANE_COMPLETE").source())
