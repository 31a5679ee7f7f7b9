"""Tests of rewriter_sampler."""
