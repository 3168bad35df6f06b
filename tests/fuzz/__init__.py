"""Programs that try many damaged inputs and count what becomes of them."""
