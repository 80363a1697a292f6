"""The data plane's HTTP: listener, requests read and checked, rows and tensors decoded, replies written."""
