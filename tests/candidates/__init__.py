"""Versions that are wrong in one way each, deployed as canaries on a running platform: what becomes of them."""
