"""The rewriter operator: reconciles RewriterRelease objects (see docs/architecture.md)."""
