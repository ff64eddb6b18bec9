"""From runs to tidy tables and verdicts; nothing here draws."""
