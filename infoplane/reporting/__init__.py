"""Words and tables for people: reports, terminal output, LaTeX and Markdown; nothing here draws."""
