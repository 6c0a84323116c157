"""Text from outside, checked once: what a setting, an address or a store's URL may be; pure."""
