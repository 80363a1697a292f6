"""A study: trials evaluated, recorded and resumed, in this process or in several."""
