"""The results of statements: heat maps and tables, and how they are drawn, printed and written to files."""
