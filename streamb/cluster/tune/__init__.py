"""Ray Tune: searches on a cluster, and our search algorithm in anybody's experiment."""
