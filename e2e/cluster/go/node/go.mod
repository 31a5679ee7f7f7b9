module rewriter.dev/e2e/cluster/node

go 1.25.0
