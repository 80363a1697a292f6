"""Jobs that make models: each is a program, `python -m tune_jobs.NAME`.

It runs by itself, with `streamb jobs submit`, or as a Ray job: `ray job submit --working-dir . -- python -m …`.

Every job has a validated `Args` model and one function, prints progress lines, and ends with exit code 0 (done),
1 (failed) or 2 (wrong arguments).
"""
