"""Ray Tune: searches on a cluster, and streamb's search algorithm for any Tune experiment."""
