"""The peers of the serving benchmark, each written the way its own documentation recommends.

Each module is a program, `python -m benchmarks.peers.NAME --port N`, that answers `POST /predict` with the body
`{"instances": [[30 numbers], …]}` with `{"predictions": […]}`, as streamb does.
"""
