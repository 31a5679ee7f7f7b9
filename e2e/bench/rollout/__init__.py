"""The rollout's judgement of traffic beside simpler rules."""
