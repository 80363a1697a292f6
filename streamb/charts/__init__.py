"""Charts as SVG, drawn in plain Python: no framework, no script, no style sheet."""
