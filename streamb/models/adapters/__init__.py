"""The adapters: one file for each kind of model. `models.catalog` finds every file that ends in `_model`."""
