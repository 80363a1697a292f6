"""Security: API keys and the callers behind them."""
