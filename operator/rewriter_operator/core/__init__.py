"""Pure decisions: states, plan, training, traffic, gate. No client, no clock, no randomness."""
