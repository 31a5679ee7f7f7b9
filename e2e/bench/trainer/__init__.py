"""The trainer beside TRL's DPOTrainer: same model, pairs, order of pairs, batch, dtype, threads and step size."""
